"""Rotation: by how many quarter turns is the image rotated (Gidaris et al., 2018).

https://arxiv.org/abs/1803.07728, as UnNAS searches with it: all four rotations of an image are in
the batch, so that a step costs four times one of classification; the authors halve batch size and
learning rate (batch 32, 0.0125).
"""

import torch
from torch import Tensor, nn

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.nas.tasks.proxy import ProxyTask
from sdedge.nas.tasks.task import TaskBatch, TaskSetting

_TURNS = 4


class RotationTask(ProxyTask):
    """Four rotations of each image, told apart from the pooled features of each.

    Jointly, the class of an image is read once, from its four rotations side by side.
    """

    augmentation = Augmentation(crop_padding=4, flip=True)

    def __init__(self, config: SearchConfig, setting: TaskSetting, *, classify: bool) -> None:
        super().__init__(setting, classify=classify, views=_TURNS)
        self.head = nn.Linear(setting.feature_channels, _TURNS)

    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Rotate each image by 0, 90, 180 and 270 degrees to the left; nothing is random.

        inputs: (4 * N, 3, H, W), an image's rotations in a row; target: (4 * N,), quarter turns.
        """
        turned = torch.stack([images.rot90(k, (2, 3)) for k in range(_TURNS)], dim=1)
        inputs = turned.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        turns = torch.arange(_TURNS, device=images.device).repeat(len(images))
        return TaskBatch(inputs, images, labels, turns)

    def answer(self, features: Tensor) -> Tensor:
        """Scores (4 * N, 4) of the quarter turns."""
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]
