"""Semantic-DARTS: classify and reconstruct a masked image at once (IEEE IoT Journal, 2025).

Three switches span the rows of the paper's Table VIII: whether patches are hidden, whether the
image is classified, and whether it is reconstructed.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.errors import ConfigError
from sdedge.kernels import Impl, masked_mse
from sdedge.nas.tasks.decoder import Decoder
from sdedge.nas.tasks.masking import apply_mask, check_mask, random_mask
from sdedge.nas.tasks.task import Task, TaskBatch, TaskLoss, TaskSetting, accuracy, harmonise
from sdedge.space.supernet import SupernetOutput

_CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)


class SemanticTask(Task):
    """Masked image modelling with classification, or a part of it."""

    def __init__(
        self,
        config: SearchConfig,
        setting: TaskSetting,
        *,
        hide: bool,
        classify: bool,
        reconstruct: bool,
    ) -> None:
        super().__init__()
        image_size = setting.image_size
        if hide:
            check_mask(image_size, config.patch_size, config.mask_ratio)
        if reconstruct and image_size % 4:
            raise ConfigError(f"image_size is {image_size}; the decoder needs a multiple of 4")
        self.patch_size = config.patch_size if hide else image_size
        self.patches = (image_size // self.patch_size) ** 2
        self.ratio = config.mask_ratio
        self.fill = config.mask_fill
        self.impl: Impl = config.impl
        self.hide = hide
        self.classify = self.reads_classes = classify
        self.harmonised = classify and reconstruct
        self.decoder = (
            Decoder(setting.feature_channels, setting.value_range) if reconstruct else None
        )
        # Pure reconstruction sees the images as they are (the authors' code).
        self.augmentation = _CROP_AND_FLIP if classify else Augmentation()

    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Draw one mask an image; without hiding, one patch covers the image and counts."""
        n = images.shape[0]
        if not self.hide:
            everything = images.new_ones((n, self.patches), dtype=torch.bool)
            return TaskBatch(images, images, labels, everything)
        mask = random_mask(n, self.patches, self.ratio, images.device)
        return TaskBatch(apply_mask(images, mask, self.patch_size, self.fill), images, labels, mask)

    def loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """Cross-entropy, reconstruction error of the hidden patches, or both harmonised."""
        losses, parts = [], {}
        if self.classify:
            losses.append(F.cross_entropy(output.logits, batch.labels))
            parts["cross_entropy"] = losses[-1].detach()
            parts["accuracy"] = accuracy(output.logits, batch.labels)
        if self.decoder is not None:
            reconstruction = self.decoder(output.features)
            losses.append(
                masked_mse(
                    reconstruction, batch.images, batch.target, self.patch_size, impl=self.impl
                )
            )
            parts["reconstruction"] = losses[-1].detach()
        total = harmonise(*losses) if len(losses) == 2 else losses[0]
        return TaskLoss(total, {"loss": total.detach(), **parts})
