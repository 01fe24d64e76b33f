"""Decoded images as memory-mapped arrays: decode once, open in milliseconds ever after.

    <data_root>/cache/<name>-<identity>-<fingerprint>/
        meta.json
        train/images.npy  (N, S, S, 3) uint8     test/images.npy
        train/labels.npy  (N,) int64             test/labels.npy
        train/masks.npy   (N, S, S) bool         test/masks.npy     where the source has masks

A cache never changes: it is written under a temporary name, synced to disk and renamed, and a
source that changed gets a cache of another name, after which the stale one is removed. So a
reader never sees half a cache, and two processes that build the same one do not collide.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdedge.counted import counted
from sdedge.data.dataset import Channels, Dataset, Masks, Split
from sdedge.data.meta import META_FILE, Counts, Meta, read_meta
from sdedge.data.npy import RowFile, map_rows
from sdedge.data.source import Decoded, Source, Stream
from sdedge.errors import DataError
from sdedge.files import sync

__all__ = ["Progress", "cache_stem", "open_or_build"]

Progress = Callable[[int, int], None]  # images done, images in all

_ABANDONED_S = 24 * 3600
_STATISTICS_IMAGES = 10_000
_NAMED_FILES = 5


def open_or_build(cache_root: Path, source: Source, progress: Progress | None = None) -> Dataset:
    """Open the cache of `source` under `cache_root`, building it first where that is needed.

    Raises DataError where the cache cannot be written or a class has no readable image.
    """
    place = cache_root / f"{cache_stem(source)}-{_digest(source.fingerprint)}"
    dataset = _open(place, source)
    if dataset is None:
        try:
            _build(place, source, progress)
        except OSError as error:
            raise DataError(
                f"the image cache {place} could not be written: {error.strerror or error}; "
                "free some space or choose another --data-root"
            ) from error
        dataset = _open(place, source)
    if dataset is None:
        raise DataError(
            f"the image cache {place} cannot be opened; remove that folder and try again"
        )
    return dataset


def cache_stem(source: Source) -> str:
    """The part of a cache folder's name that all states of one source share."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", source.name)[:40].strip("-.") or "images"
    return f"{name}-{_digest(source.identity)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _open(place: Path, source: Source) -> Dataset | None:
    """The data set in the folder `place`; None where it is missing, damaged or of other content."""
    try:
        meta = read_meta(place / META_FILE)
        if (meta.identity, meta.fingerprint) != (source.identity, source.fingerprint):
            return None
        train, test = (_open_split(place / name, meta) for name in ("train", "test"))
        masks = None
        if meta.has_masks:
            masks = Masks(*(_open_masks(place / name, meta) for name in ("train", "test")))
    except (OSError, ValueError, DataError):
        return None
    return Dataset(
        name=meta.name,
        classes=meta.classes,
        image_size=meta.image_size,
        mean=meta.mean,
        std=meta.std,
        train=train,
        test=test,
        notes=source.notes + meta.notes,
        masks=masks,
        fingerprint=_digest(source.fingerprint),
        contents=source.contents,
    )


def _open_split(folder: Path, meta: Meta) -> Split:
    count, size = getattr(meta.counts, folder.name), meta.image_size
    images = map_rows(folder / "images.npy", (count, size, size, 3), np.uint8)
    labels = np.array(map_rows(folder / "labels.npy", (count,), np.int64))
    if labels.min() < 0 or labels.max() >= len(meta.classes):
        raise ValueError(f"{folder / 'labels.npy'}: label out of range")
    return Split(images, labels)


def _open_masks(folder: Path, meta: Meta) -> NDArray[np.bool_]:
    count, size = getattr(meta.counts, folder.name), meta.image_size
    return map_rows(folder / "masks.npy", (count, size, size), np.bool_)


def _build(place: Path, source: Source, progress: Progress | None) -> None:
    cache_root = place.parent
    cache_root.mkdir(parents=True, exist_ok=True)
    decoded = source.decode()
    _check_space(cache_root, source, decoded)
    if _open(place, source) is not None:  # another process was faster
        return
    shutil.rmtree(place, ignore_errors=True)  # whatever is there could not be opened
    building = cache_root / f".{place.name}-{secrets.token_hex(4)}"
    try:
        building.mkdir()
        _write(building, source, decoded, progress)
        _publish(building, place)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _remove_stale(cache_root, place, cache_stem(source))


def _check_space(cache_root: Path, source: Source, decoded: Decoded) -> None:
    needed = (decoded.train.total + decoded.test.total) * source.image_size**2 * 3
    free = shutil.disk_usage(cache_root).free
    if needed > free:
        raise DataError(
            f"the image cache of {source.name} needs {needed / 1e9:.1f} GB in {cache_root}, "
            f"which has {free / 1e9:.1f} GB free; choose another --data-root or a smaller "
            "--image-size"
        )


def _write(folder: Path, source: Source, decoded: Decoded, progress: Progress | None) -> None:
    total = decoded.train.total + decoded.test.total
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(done, total)

    skipped: list[str] = []
    counts = {}
    for name, stream in (("train", decoded.train), ("test", decoded.test)):
        labels, unreadable = _write_split(folder / name, stream, advance)
        _check_classes(source, decoded.classes, name, labels, unreadable)
        counts[name] = len(labels)
        skipped += unreadable
    shape = (counts["train"], source.image_size, source.image_size, 3)
    mean, std = source.normalisation or _statistics(
        map_rows(folder / "train" / "images.npy", shape, np.uint8)
    )
    meta = Meta(
        name=source.name,
        origin=source.origin,
        identity=source.identity,
        fingerprint=source.fingerprint,
        image_size=source.image_size,
        classes=decoded.classes,
        mean=mean,
        std=std,
        counts=Counts(**counts),
        has_masks=(folder / "train" / "masks.npy").exists(),
        notes=decoded.notes + _skipped_note(skipped, total),
    )
    (folder / META_FILE).write_text(meta.to_json(), encoding="utf-8")
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def _write_split(
    folder: Path, stream: Stream, advance: Callable[[int], None]
) -> tuple[NDArray[np.int64], list[str]]:
    """Write the arrays of a split; its labels and the files left out of it."""
    folder.mkdir()
    files: dict[str, RowFile] = {}
    labels: list[NDArray[np.int64]] = []
    skipped: list[str] = []
    with ExitStack() as stack:
        for block in stream.blocks:
            for name, rows in block.arrays().items():
                if name not in files:
                    file = RowFile(folder / f"{name}.npy", rows.shape[1:], rows.dtype)
                    files[name] = stack.enter_context(closing(file))
                files[name].append(rows)
            labels.append(block.labels)
            skipped += block.skipped
            advance(len(block.labels) + len(block.skipped))
    return np.concatenate(labels), skipped


def _check_classes(
    source: Source,
    classes: tuple[str, ...],
    split: str,
    labels: NDArray[np.int64],
    skipped: list[str],
) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"{source.origin}: no readable {split} image of {', '.join(empty[:_NAMED_FILES])} "
            f"(unreadable: {', '.join(skipped[:_NAMED_FILES])}); "
            "replace the files or remove the class"
        )


def _skipped_note(skipped: list[str], total: int) -> tuple[str, ...]:
    if not skipped:
        return ()
    named = ", ".join(skipped[:_NAMED_FILES])
    more = len(skipped) - _NAMED_FILES
    rest = f" and {more} more" if more > 0 else ""
    are = "is" if len(skipped) == 1 else "are"
    return (
        f"{len(skipped):,} of {counted(total, 'image')} could not be read and {are} left out: "
        f"{named}{rest}",
    )


def _statistics(images: NDArray[np.uint8]) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel, over at most 10,000 evenly spaced images."""
    rows = np.unique(np.linspace(0, len(images) - 1, _STATISTICS_IMAGES).astype(np.int64))
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(rows), 256):
        chunk = images[rows[start : start + 256]]
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(share @ levels**2 - mean**2)
    return _channels(mean), _channels(np.maximum(std, 1 / 255))  # a flat channel has no spread


def _channels(values: NDArray[np.float64]) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _publish(building: Path, place: Path) -> None:
    """Give the finished folder its name; where another process was faster, its equal stays."""
    try:
        os.rename(building, place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    else:
        sync(place.parent)


def _remove_stale(cache_root: Path, place: Path, stem: str) -> None:
    """Remove earlier states of the same source, and what builds that were killed left behind."""
    for other in cache_root.glob(f"{stem}-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    for building in cache_root.glob(f".{stem}-*"):
        with suppress(OSError):  # its owner may finish at this very moment
            newest = max(path.stat().st_mtime for path in [building, *building.rglob("*")])
            if time.time() - newest > _ABANDONED_S:
                shutil.rmtree(building, ignore_errors=True)
