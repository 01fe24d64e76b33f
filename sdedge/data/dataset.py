"""What a data set is: two splits of square uint8 images, their labels and their normalisation."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Channels", "Contents", "Dataset", "Masks", "Split"]

Channels: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Split:
    """Images and labels of one half of a data set, in a fixed order."""

    images: NDArray[np.uint8]  # (N, S, S, 3), RGB, possibly memory-mapped read-only
    labels: NDArray[np.int64]  # (N,), an index into the classes


@dataclass(frozen=True)
class Masks:
    """Which pixels show the labelled object, image by image."""

    train: NDArray[np.bool_]  # (N, S, S)
    test: NDArray[np.bool_]  # (N, S, S)


@dataclass(frozen=True)
class Contents:
    """A digest of the content of every image file, split by split, in no particular order."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set ready to be batched; `mean` and `std` are of pixels scaled to 0..1."""

    name: str
    classes: tuple[str, ...]
    image_size: int  # side in pixels of what the network sees
    mean: Channels
    std: Channels
    train: Split
    test: Split
    notes: tuple[str, ...] = ()  # for the user: files left out, folders not used
    masks: Masks | None = None
    fingerprint: str = ""  # changes with the images and their splits, not with their folder
    contents: Contents | None = None  # of a folder of images

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value that a normalised pixel of any channel can take."""
        channels = tuple(zip(self.mean, self.std, strict=True))
        return (
            min((0.0 - mean) / std for mean, std in channels),
            max((1.0 - mean) / std for mean, std in channels),
        )
