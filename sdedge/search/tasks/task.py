"""A task: what the supernet is asked to do with an image while its architecture is searched."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from sdedge.data.augment import Augmentation
from sdedge.space.supernet import SupernetOutput


class TaskBatch(NamedTuple):
    """A batch with everything random about it drawn, so that its loss can be taken repeatedly."""

    inputs: Tensor  # (N, 3, H, W), what the supernet sees
    images: Tensor  # (N, 3, H, W), the normalised originals
    labels: Tensor  # (N,)
    mask: Tensor  # (N, patches), true where the loss looks


class TaskLoss(NamedTuple):
    """The loss to descend, and named scalars worth logging."""

    total: Tensor
    parts: dict[str, Tensor]


class Task(nn.Module, ABC):
    """Input transform, heads and loss; its parameters train together with the supernet's."""

    augmentation: Augmentation
    harmonised: bool  # whether a factor of the loss is held constant when it is differentiated

    @abstractmethod
    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Draw what is random for normalised images (N, 3, H, W) and labels (N,)."""

    @abstractmethod
    def loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """Loss of the supernet's output for `batch`; the same at every call."""
