"""A phase of a few steps for the loop, and a reporter that keeps what it is told."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sdedge.events import Event
from sdedge.loop import Phase

EPOCHS, STEPS = 2, 3


class Toy(Phase):
    """A random walk: what it becomes depends on every batch, every draw and their order."""

    name = "toy"

    def __init__(self, epochs: int = EPOCHS, steps: int = STEPS) -> None:
        self.epochs, self.steps = epochs, steps
        self.seed = 2
        self.device = torch.device("cpu")
        self.weights = torch.zeros(3)
        self.rate = 0.0
        self.done: list[tuple[int, int]] = []

    def begin_epoch(self, epoch: int) -> None:
        self.rate = 1 / (1 + epoch)

    def batches(self, epoch: int, start_step: int) -> Iterator[Tensor]:
        return iter([torch.tensor(10.0 * epoch + step) for step in range(start_step, self.steps)])

    def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
        self.done.append((epoch, step))
        self.weights = self.weights.roll(1) * 0.9 + self.rate * batch * torch.rand(3)
        return {"loss": self.weights.mean(), "batch": batch}

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        return {"valid_loss": float((self.weights * torch.rand(3)).sum())}

    def state(self) -> dict[str, Tensor]:
        return {"weights": self.weights}

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        self.weights = tensors["weights"].clone()


E = TypeVar("E", bound=Event)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]
