"""Names and folders to data sets."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sdedge.data.cache import Progress, open_or_build
from sdedge.data.cifar import CIFAR, CIFAR_IMAGES, CIFAR_SIZE, cifar_source
from sdedge.data.dataset import Dataset, Masks, Split
from sdedge.data.folder import folder_source
from sdedge.data.meta import META_FILE, Meta, read_meta
from sdedge.data.named import DatasetRow, NamedDataset
from sdedge.data.shapes import CLASSES, IMAGES, SHAPES_SIZE, shapes_source
from sdedge.data.source import Source
from sdedge.errors import ConfigError, DataError
from sdedge.escape import quoted
from sdedge.names import find_name, suggestion
from sdedge.paths import checked_path
from sdedge.registration import Registration, check_class, register

__all__ = [
    "DATASETS",
    "Dataset",
    "Masks",
    "Split",
    "describe_datasets",
    "find_source",
    "load_dataset",
    "register_dataset",
]

_MIN_SIZE, _MAX_SIZE = 8, 2048
_CACHE_FOLDER, _INDEX_FOLDER = "cache", "content"


def load_dataset(
    name: str,
    data_root: Path,
    image_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    on_source: Callable[[Source], None] = lambda source: None,
) -> Dataset:
    """Open the data set `name`: one of `DATASETS`, or the path of a folder of images.

    `data_root` holds downloads and caches. `image_size` None takes 32 for CIFAR and shapes, and
    32 or 64 for a folder, after its images. `seed` draws the shapes and splits a folder that
    has no split of its own. `on_source` is called before anything is decoded, `progress(done,
    total)` while a cache is built.
    Raises ConfigError for an image size out of range, and DataError for a set that is unknown,
    unreadable, cannot be downloaded or cannot be cached.
    """
    if image_size is not None and not _MIN_SIZE <= image_size <= _MAX_SIZE:
        raise ConfigError(
            f"image_size is {image_size}; it must be {_MIN_SIZE} to {_MAX_SIZE} pixels"
        )
    source = find_source(name, data_root, image_size, seed)
    on_source(source)
    return open_or_build(data_root / _CACHE_FOLDER, source, progress)


def find_source(name: str, data_root: Path, image_size: int | None, seed: int) -> Source:
    """What `load_dataset` opens, before anything is decoded; a folder's files are read once."""
    if name in DATASETS:
        return DATASETS[name].source(data_root, image_size, seed)
    folder = checked_path(name, error=DataError)
    if folder.is_dir():
        return folder_source(folder, image_size, seed, data_root / _INDEX_FOLDER)
    if folder.exists():
        raise DataError(f"{name} is a file, not a folder of images; unpack it and pass the folder")
    if found := find_name(name, DATASETS):
        return find_source(found, data_root, image_size, seed)
    raise DataError(
        f"{quoted(name)} is neither a data set nor a folder{suggestion(name, DATASETS)}; the data "
        f"sets are {', '.join(DATASETS)}"
    )


def describe_datasets(data_root: Path) -> list[DatasetRow]:
    """The named data sets, then the folders cached under `data_root`; opens no image."""
    folders = [_folder_row(meta) for meta in _cached(data_root) if Path(meta.origin).is_dir()]
    return [*(named.describe(data_root) for named in DATASETS.values()), *folders]


def _cached(data_root: Path) -> list[Meta]:
    """What the caches under `data_root` hold; those that opening would rebuild are left out."""
    files = sorted((data_root / _CACHE_FOLDER).glob(f"*/{META_FILE}"))
    return [meta for path in files if (meta := _meta(path)) is not None]


def _meta(path: Path) -> Meta | None:
    try:
        return read_meta(path)
    except DataError:  # damaged or of another version; opening it will rebuild it
        return None


def _cifar_row(name: str, data_root: Path) -> DatasetRow:
    cifar = CIFAR[name]
    archive, folder = data_root / cifar.archive, data_root / cifar.folder
    in_cache = any(meta.origin == cifar.archive for meta in _cached(data_root))
    on_disk = in_cache or folder.is_dir() or archive.is_file()
    return DatasetRow(
        name=name,
        classes=cifar.classes,
        images=CIFAR_IMAGES,
        image_size=CIFAR_SIZE,
        where=str(data_root / _CACHE_FOLDER if in_cache else archive),
        on_disk=on_disk,
        needs_download=not on_disk,
    )


def _folder_row(meta: Meta) -> DatasetRow:
    return DatasetRow(
        name=meta.name,
        classes=len(meta.classes),
        images=meta.counts.train + meta.counts.test,
        image_size=meta.image_size,
        where=meta.origin,
        on_disk=True,
        needs_download=False,
    )


def _shapes_row(data_root: Path) -> DatasetRow:
    return DatasetRow(
        name="shapes",
        classes=len(CLASSES),
        images=sum(IMAGES.values()),
        image_size=SHAPES_SIZE,
        where="drawn on first use",
        on_disk=True,
        needs_download=False,
    )


def _cifar_source(name: str, data_root: Path, image_size: int | None, seed: int) -> Source:
    return cifar_source(name, data_root, image_size)  # its split is published


def _shapes_source(data_root: Path, image_size: int | None, seed: int) -> Source:
    return shapes_source(image_size, seed)


DATASETS: dict[str, NamedDataset] = {
    **{
        name: NamedDataset(source=partial(_cifar_source, name), describe=partial(_cifar_row, name))
        for name in CIFAR
    },
    "shapes": NamedDataset(source=_shapes_source, describe=_shapes_row),
}


def register_dataset(name: str, dataset: NamedDataset) -> Registration:
    """Let `dataset` be opened as `name`; ConfigError for a name that is taken or cannot be one.

    For good, or to the end of a `with` block.
    """
    check_class(dataset, NamedDataset)
    return register(DATASETS, name, dataset, kind="data set")
