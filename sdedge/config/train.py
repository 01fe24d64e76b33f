"""Settings of a training. The defaults are the protocol of section 3.2 of DARTS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sdedge import bounds
from sdedge.config import presets
from sdedge.config.phase import PhaseConfig, check_even
from sdedge.config.validation import require

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(PhaseConfig):
    """The training of a derived network."""

    channels: bounds.Channels = 36
    cells: bounds.Cells = 20
    stem: bounds.Stem = "cifar"
    epochs: bounds.Epochs = 600
    batch_size: bounds.BatchSize = 96
    lr: bounds.Positive = 0.025
    lr_min: bounds.NotNegative = 0.0
    # Cosine, step by step; linear, epoch by epoch, with five last epochs at a fifth of the slope.
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: bounds.NotNegative = 0.0
    momentum: bounds.ShareBelow1 = 0.9
    weight_decay: bounds.NotNegative = 3e-4
    gradient_clip: bounds.Positive = 5.0
    label_smoothing: bounds.ShareBelow1 = 0.0
    drop_path: bounds.ShareBelow1 = 0.2  # reached linearly at the last epoch
    auxiliary: bool = True
    auxiliary_weight: bounds.NotNegative = 0.4
    augmentation: Literal["crop-flip", "resized-crop", "none"] = "crop-flip"
    cutout: bounds.CutoutSize = 16  # pixels; 0: none
    colour_jitter: bool = False  # the ImageNet recipe's 0.4, 0.4, 0.4, 0.2
    ema_decay: bounds.ShareBelow1 = 0.0  # 0: none
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_even(self.channels)
        linear = self.schedule == "linear"
        require(not linear or self.epochs > 5, "epochs", self.epochs, "over 5 (linear schedule)")
        warmup = self.warmup_epochs
        require(warmup < self.epochs, "warmup_epochs", warmup, f"less than epochs ({self.epochs})")

    @property
    def stored_size(self) -> int | None:
        """Larger than the network's input by 8/7 where crops are cut: 256 for 224."""
        if self.image_size is None or self.augmentation != "resized-crop":
            return self.image_size
        return self.image_size * 8 // 7

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """`paper`, `imagenet`: published protocols. `quick`, `demo`: minutes on two CPU cores."""
        return presets.TRAIN
