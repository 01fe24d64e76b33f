"""What a cache is built from: a source names itself, says when it changed, and yields images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdedge.data.dataset import Channels, Contents

__all__ = ["Block", "Decoded", "Source", "Stream"]


@dataclass(frozen=True)
class Block:
    """Some consecutive images of a split, decoded."""

    images: NDArray[np.uint8]  # (n, S, S, 3)
    labels: NDArray[np.int64]  # (n,)
    masks: NDArray[np.bool_] | None = None  # (n, S, S)
    skipped: tuple[str, ...] = ()  # files of this stretch that could not be read

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays there are, by name."""
        arrays: dict[str, NDArray[Any]] = {"images": self.images, "labels": self.labels}
        return arrays if self.masks is None else {**arrays, "masks": self.masks}


@dataclass(frozen=True)
class Stream:
    """One split on its way into the cache, in its final order."""

    total: int  # images, those that will turn out unreadable included
    blocks: Iterable[Block]


@dataclass(frozen=True)
class Decoded:
    """What a source yields once it is asked to decode."""

    classes: tuple[str, ...]
    train: Stream
    test: Stream
    notes: tuple[str, ...] = ()  # what decoding showed


@dataclass(frozen=True)
class Source:
    """A data set that can be decoded; everything but `decode` is cheap and known beforehand."""

    name: str
    origin: str  # for people: a path, or where the set comes from
    identity: str  # which cache: where two sources differ here, both caches are kept
    fingerprint: str  # which images and splits, wherever they lie: changes with any pixel
    image_size: int
    decode: Callable[[], Decoded]
    normalisation: tuple[Channels, Channels] | None = None  # None: measured on the train images
    notes: tuple[str, ...] = ()
    contents: Contents | None = None  # None for sets that never change
    # Training and test files of each class, where they are known before they are decoded.
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
