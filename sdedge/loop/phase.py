"""What the loop runs: a search or a training, as the steps of its epochs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdedge.run import Record


class Phase(ABC):
    """What the loop runs: a search, or a training."""

    name: str
    epochs: int
    steps: int  # of one epoch
    seed: int
    device: torch.device
    evaluation_cost: float = 0.0  # of an epoch's end, in usual steps; for estimates only
    record_type: type[Record] = Record  # what it logs of an epoch, as far as it is read again
    data_fingerprint: str = ""  # changes with the images, so that a resume cannot mix two sets

    def relative_cost(self, epoch: int) -> float:
        """Cost of a step of this epoch, in units of a usual step; for estimates only."""
        return 1.0

    @abstractmethod
    def begin_epoch(self, epoch: int) -> None:
        """Set what changes from epoch to epoch, such as the learning rate."""

    @abstractmethod
    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """The batches of an epoch from `start_step` on; they depend on the epoch alone."""

    @abstractmethod
    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """Do one step and give scalar tensors to log."""

    @abstractmethod
    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Evaluate, and give plain values to log."""

    def ended(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Whether to stop before the last epoch, judged by what the epochs so far logged."""
        return False

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that later steps depend on."""

    @abstractmethod
    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave; RunError naming `path` when it does not fit."""
