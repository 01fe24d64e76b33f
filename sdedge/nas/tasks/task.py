"""A task: what the supernet is asked to do with an image while its architecture is searched."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from sdedge.data.augment import Augmentation
from sdedge.data.dataset import Channels
from sdedge.space.supernet import SupernetOutput

# Keeps the harmonising factor finite when the second loss has reached zero.
_MIN_LOSS = 1e-12


class TaskSetting(NamedTuple):
    """What a task has to fit: the features of the supernet, and the images of the data set."""

    feature_channels: int  # C of the features (N, C, H/4, W/4)
    image_size: int  # pixels
    value_range: tuple[float, float]  # of normalised pixels
    classes: int
    mean: Channels  # what the images were normalised with, of pixels in 0..1
    std: Channels


class TaskBatch(NamedTuple):
    """A batch with everything random about it drawn, so that its loss can be taken repeatedly."""

    inputs: Tensor  # (V * N, 3, h, w), what the supernet sees: V views of each image, in its order
    images: Tensor  # (N, 3, H, W), the normalised originals
    labels: Tensor  # (N,)
    target: Tensor  # what the image itself gives: the patches to reconstruct, or proxy labels


class TaskLoss(NamedTuple):
    """The loss to descend, and named scalars worth logging."""

    total: Tensor
    parts: dict[str, Tensor]


class Task(nn.Module, ABC):
    """Input transform, heads and loss; its parameters train together with the supernet's."""

    augmentation: Augmentation
    reads_classes: bool  # whether its loss is, or holds, that of the supernet's class scores
    harmonised: bool  # whether a factor of the loss is held constant when it is differentiated

    @abstractmethod
    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Draw what is random for normalised images (N, 3, H, W) and labels (N,)."""

    @abstractmethod
    def loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """Loss of the supernet's output for `batch`; the same at every call."""


def harmonise(classification: Tensor, other: Tensor) -> Tensor:
    """Add two losses, the second scaled to the size of the first (Semantic-DARTS, section III-E).

    The value is exactly twice the first loss; the gradient is that of
    classification + (classification / other).detach() * other.
    """
    scale = (classification / other.clamp_min(_MIN_LOSS)).detach()
    # Added as x - x.detach(), a loss gives its gradient and nothing to the value.
    return (
        2 * classification.detach()
        + (classification - classification.detach())
        + scale * (other - other.detach())
    )


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """The share of scores (rows, classes) that are highest at the label of their row."""
    return (scores.detach().argmax(dim=1) == labels).double().mean()
