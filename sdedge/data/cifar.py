"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), downloaded and verified by torchvision."""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdedge.data.dataset import Channels
from sdedge.data.decode import square
from sdedge.data.source import Block, Decoded, Source, Stream
from sdedge.errors import DataError

__all__ = ["CIFAR", "CIFAR_IMAGES", "CIFAR_SIZE", "Cifar", "cifar_source"]

CIFAR_SIZE = 32
CIFAR_IMAGES = 60_000
_BLOCK = 2_000


@dataclass(frozen=True)
class Cifar:
    """One of the two sets; the normalisation is the one Semantic-DARTS uses."""

    loader: str  # class in torchvision.datasets
    classes: int
    archive: str
    folder: str  # what the archive unpacks to
    mean: Channels
    std: Channels


CIFAR = {
    "cifar10": Cifar(
        loader="CIFAR10",
        classes=10,
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
    ),
    "cifar100": Cifar(
        loader="CIFAR100",
        classes=100,
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
}


def cifar_source(name: str, data_root: Path, image_size: int | None) -> Source:
    """`name` ("cifar10" or "cifar100") as a source, in the order of the published files.

    Decoding downloads the archive to `data_root` unless it is there; another `image_size` than 32
    scales the images. Decoding raises DataError where the archive can be neither found nor fetched.
    """
    cifar = CIFAR[name]
    size = CIFAR_SIZE if image_size is None else image_size
    return Source(
        name=name,
        origin=cifar.archive,
        identity=f"{name} at {size} pixels",
        fingerprint=f"{cifar.archive} at {size} pixels",
        image_size=size,
        decode=lambda: _decode(name, cifar, data_root, size),
        normalisation=(cifar.mean, cifar.std),
    )


def _decode(name: str, cifar: Cifar, data_root: Path, size: int) -> Decoded:
    from torchvision import datasets  # slow to import, and needed only when there is no cache

    loader = getattr(datasets, cifar.loader)
    archive = data_root / cifar.archive
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        train, test = (loader(data_root, train=part, download=True) for part in (True, False))
    # URLError is an OSError; RuntimeError is torchvision's word for a wrong checksum.
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error) as error:
        damaged = " (the file there is incomplete or damaged)" if archive.exists() else ""
        raise DataError(
            f"{name} could not be downloaded from {loader.url}: {error}. Download it elsewhere "
            f"and put it at {archive}{damaged}, or pass a folder of images, or use "
            "--dataset shapes, which needs no download"
        ) from error
    return Decoded(tuple(train.classes), _stream(train, size), _stream(test, size))


def _stream(split: Any, size: int) -> Stream:
    labels = np.array(split.targets, np.int64)
    return Stream(len(labels), _blocks(split.data, labels, size))


def _blocks(images: NDArray[np.uint8], labels: NDArray[np.int64], size: int) -> Iterator[Block]:
    for start in range(0, len(labels), _BLOCK):
        part = images[start : start + _BLOCK]
        if size != CIFAR_SIZE:
            part = np.stack([square(Image.fromarray(image), size) for image in part])
        yield Block(part, labels[start : start + _BLOCK])
