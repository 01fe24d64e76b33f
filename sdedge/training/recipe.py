"""The training recipe of a derived network: schedule, augmentation, precision, loss."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.config import TrainConfig
from sdedge.data.augment import Augmentation
from sdedge.errors import ConfigError

# Brightness, contrast, saturation, hue of the ImageNet recipe (DARTS, section 3.3).
_IMAGENET_JITTER = (0.4, 0.4, 0.4, 0.2)


# Epochs at the end of the linear schedule, in which the rate falls at a fifth of the slope.
_TAIL = 5


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Rate at a fractional epoch.

    Cosine: a linear warm-up from 0, then half a cosine to `lr_min` (DARTS, section A.2.1, where it
    moves once an epoch). Linear: the ImageNet recipe of P-DARTS and PC-DARTS, once an epoch.
    """
    if config.schedule == "linear":
        return _linear_rate(config, int(epoch))
    if epoch < config.warmup_epochs:
        return config.lr * epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return config.lr_min + (config.lr - config.lr_min) * (1 + math.cos(math.pi * progress)) / 2


def _linear_rate(config: TrainConfig, epoch: int) -> float:
    slope = config.lr / (config.epochs - _TAIL)
    left = config.epochs - epoch
    rate = slope * (left - _TAIL) if left > _TAIL else slope * left / _TAIL
    return rate * min(1.0, (epoch + 1) / config.warmup_epochs) if config.warmup_epochs else rate


def augmentation(config: TrainConfig) -> Augmentation:
    """What the recipe does to a training image."""
    return Augmentation(
        crop_padding=4 if config.augmentation == "crop-flip" else 0,
        resized_crop=config.augmentation == "resized-crop",
        flip=config.augmentation != "none",
        colour_jitter=_IMAGENET_JITTER if config.colour_jitter else (0.0, 0.0, 0.0, 0.0),
        cutout=config.cutout,
    )


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, or None for fp32: bf16 where the GPU computes in it.

    Raises ConfigError when bf16 is asked for and the device does not have it.
    """
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "bf16" and not has_bf16:
        raise ConfigError(f"precision is 'bf16', which {device} does not compute in; use fp32")
    return torch.bfloat16 if has_bf16 and config.precision != "fp32" else None


def training_loss(
    config: TrainConfig, logits: Tensor, auxiliary: Tensor | None, labels: Tensor
) -> Tensor:
    """Cross-entropy with label smoothing, plus the auxiliary head's at its weight."""
    loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    if auxiliary is None:
        return loss
    extra = F.cross_entropy(auxiliary, labels, label_smoothing=config.label_smoothing)
    return loss + config.auxiliary_weight * extra
