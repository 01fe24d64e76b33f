"""Progress callbacks of the loop, and what they are given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Estimate:
    """What the rest of the phase will cost, from a few measured steps."""

    phase: str
    epochs: int
    steps: int
    step_seconds: float
    remaining_seconds: float
    peak_memory_bytes: int
    device: str


@dataclass(frozen=True)
class Progress:
    """Where a phase is; `means` waits for the device, so read it sparingly."""

    phase: str
    epoch: int
    epochs: int
    step: int  # done in this epoch
    steps: int
    remaining_seconds: float | None
    means: Callable[[], dict[str, float]]


class Reporter(Protocol):
    """Progress callbacks."""

    def estimated(self, estimate: Estimate) -> None:
        """The cost is known, after the first few steps."""

    def stepped(self, progress: Progress) -> None:
        """A step was done."""

    def epoch_ended(self, record: Mapping[str, Any]) -> None:
        """An epoch was done, evaluated and logged."""

    def stopping(self) -> None:
        """A stop was asked for; it comes at the end of this step."""
