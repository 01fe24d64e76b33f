"""What the loop reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdedge.events import Event


@dataclass(frozen=True)
class Estimated(Event):
    """What the rest of the phase will cost, from a few measured steps."""

    phase: str
    epochs: int
    steps: int
    step_seconds: float
    remaining_seconds: float
    peak_memory_bytes: int
    device: str


@dataclass(frozen=True)
class Stepped(Event):
    """A step was done; `means` waits for the device, so read it sparingly."""

    phase: str
    epoch: int
    epochs: int
    step: int  # done in this epoch
    steps: int
    remaining_seconds: float | None
    means: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch was done, evaluated and logged."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Stopping(Event):
    """A stop was asked for; it comes at the end of this step."""
