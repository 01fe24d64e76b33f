"""Scalars that change from epoch to epoch: a temperature, a dropout rate, the weight of a penalty.

Each has a key, by which whoever reads it finds it, and in a strategy a schedule, which sets it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

# From an epoch, counted from 0, and the number of epochs to the value in that epoch.
Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class ScheduledScalar:
    """The key of a scalar."""

    name: str


# The two that the supernet reads, in training alone.
SKIP_DROPOUT = ScheduledScalar("skip_dropout")  # share of an identity skip's values to drop
DROP_PATH = ScheduledScalar("drop_path")  # share of the images that other operations drop


@dataclass(frozen=True)
class ScheduledScalars:
    """The present value of each scalar: a tensor of shape () that stays where it is in memory.

    So a recorded CUDA graph reads what the latest epoch set.
    """

    values: Mapping[ScheduledScalar, Tensor]

    @classmethod
    def zeros(cls, keys: Mapping[ScheduledScalar, Schedule], like: Tensor) -> "ScheduledScalars":
        """A zero for each key, with the type and on the device of `like`."""
        return cls({key: like.detach().new_zeros(()) for key in keys})

    def set(self, schedules: Mapping[ScheduledScalar, Schedule], epoch: int, epochs: int) -> None:
        """Bring every scalar to its value in `epoch`, counted from 0, of `epochs`."""
        for key, value in self.values.items():
            value.fill_(schedules[key](epoch, epochs))

    def __getitem__(self, key: ScheduledScalar) -> Tensor:
        return self.values[key]

    def get(self, key: ScheduledScalar) -> Tensor | None:
        """The value of a scalar, or None where no schedule sets it."""
        return self.values.get(key)
