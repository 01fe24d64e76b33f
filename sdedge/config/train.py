"""Settings of a training. The defaults are the protocol of section 3.2 of DARTS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sdedge import bounds
from sdedge.config import presets
from sdedge.config.option import option
from sdedge.config.phase import PhaseConfig
from sdedge.config.validation import require

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(PhaseConfig):
    """The training of a derived network."""

    channels: bounds.Channels = 36
    cells: bounds.Cells = 20
    epochs: bounds.Epochs = 600
    batch_size: bounds.BatchSize = 96
    stem: bounds.Stem = option("cifar", "cifar, or imagenet (1/8 resolution).")
    lr: bounds.Positive = option(0.025, "Peak learning rate.")
    lr_min: bounds.NotNegative = 0.0
    # Cosine, step by step; linear, epoch by epoch, with five last epochs at a fifth of the slope.
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: bounds.NotNegative = 0.0
    momentum: bounds.ShareBelow1 = 0.9
    weight_decay: bounds.NotNegative = 3e-4
    gradient_clip: bounds.Positive = 5.0
    label_smoothing: bounds.ShareBelow1 = option(0.0, "0: none.")
    # Reached linearly.
    drop_path: bounds.ShareBelow1 = option(0.2, "Drop path at the last epoch.")
    auxiliary: bool = option(True, "Auxiliary head.")
    auxiliary_weight: bounds.NotNegative = 0.4
    augmentation: Literal["crop-flip", "resized-crop", "none"] = "crop-flip"
    # 0: none.
    cutout: bounds.CutoutSize = option(16, "Side of the cut-out square, pixels.")
    colour_jitter: bool = False  # the ImageNet recipe's 0.4, 0.4, 0.4, 0.2
    ema_decay: bounds.ShareBelow1 = option(0.0, "Averaging of weights; 0: none.")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "auto, fp32 or bf16.")

    def __post_init__(self) -> None:
        super().__post_init__()
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
