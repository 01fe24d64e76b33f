"""Batches of uint8 images on the device, shuffled by seed, from memory or from the cache."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdedge.data.dataset import Split
from sdedge.errors import ConfigError, DataError

__all__ = ["Batches"]

Batch = tuple[Tensor, Tensor]  # images (B, S, S, 3) uint8, labels (B,) int64

_HOST_BYTES = 2 * 2**30
_FREE_SHARE = 0.25
_AHEAD = 3


class Batches:
    """The images of a split, or those at `indices`, in batches on `device`.

    They live on the device where they need no more than `resident_bytes` (None: 2 GiB on the
    CPU, a quarter of the free memory of a GPU); larger sets are read from the memory-mapped
    cache by a thread that works a few batches ahead. Both give the same batches.
    Raises ConfigError for a batch size or an index out of range, DataError for no images.
    """

    def __init__(
        self,
        split: Split,
        indices: NDArray[np.int64] | None,
        batch_size: int,
        device: torch.device,
        *,
        resident_bytes: int | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.device = device
        self._split = split
        self._rows = _checked(indices, len(split.labels))
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
        budget = _budget(device) if resident_bytes is None else resident_bytes
        self.resident = len(self._rows) * split.images[0].nbytes <= budget
        if self.resident:
            self._images = torch.from_numpy(split.images[self._rows]).to(device)
            self._labels = torch.from_numpy(split.labels[self._rows]).to(device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    @property
    def steps(self) -> int:
        """Full batches an epoch; DataError where there is not even one."""
        steps = len(self) // self.batch_size
        if steps == 0:
            raise DataError(
                f"{len(self)} images are fewer than a batch of {self.batch_size}; "
                "choose a smaller batch size or a larger data set"
            )
        return steps

    def epoch(
        self, seed: int, start_step: int = 0, steps: int | None = None
    ) -> Generator[Batch, None, None]:
        """Full batches in an order that `seed` alone decides, from `start_step` on.

        `steps` None goes to the end of the epoch. Closing the iterator stops the reading.
        """
        stop = self.steps if steps is None else start_step + steps
        if not 0 <= start_step <= stop <= self.steps:
            raise ConfigError(
                f"steps {start_step} to {stop} are not within an epoch of {self.steps}"
            )
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        part = order[start_step * self.batch_size : stop * self.batch_size]
        return self._batches(part)

    def ordered(self) -> Generator[Batch, None, None]:
        """Every image once, in order; the last batch may be smaller."""
        return self._batches(torch.arange(len(self)))

    def _batches(self, order: Tensor) -> Generator[Batch, None, None]:
        return self._resident(order) if self.resident else self._streamed(order)

    def _resident(self, order: Tensor) -> Generator[Batch, None, None]:
        for rows in self._parts(order.to(self.device)):
            yield self._images.index_select(0, rows), self._labels.index_select(0, rows)

    def _streamed(self, order: Tensor) -> Generator[Batch, None, None]:
        reading: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="sdedge-batches") as reader:
            for rows in self._parts(order):
                reading.append(reader.submit(self._read, rows))
                if len(reading) > _AHEAD:
                    yield self._moved(reading.popleft().result())
            while reading:
                yield self._moved(reading.popleft().result())

    def _parts(self, order: Tensor) -> Iterator[Tensor]:
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _read(self, rows: Tensor) -> Batch:
        at = self._rows[rows.numpy()]
        images = torch.from_numpy(self._split.images[at])
        labels = torch.from_numpy(self._split.labels[at])
        if self.device.type == "cuda":  # only pinned memory is copied while the GPU computes
            return images.pin_memory(), labels.pin_memory()
        return images, labels

    def _moved(self, batch: Batch) -> Batch:
        images, labels = batch
        return (
            images.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
        )


def _checked(indices: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    rows = np.arange(count) if indices is None else np.asarray(indices, np.int64)
    if len(rows) == 0:
        raise DataError(f"none of {count} images were chosen; a batch needs at least one")
    if rows.min() < 0 or rows.max() >= count:
        raise ConfigError(f"indices go from {rows.min()} to {rows.max()}; there are {count} images")
    return rows


def _budget(device: torch.device) -> float:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return _FREE_SHARE * free
    return _HOST_BYTES
