"""Presets: sets of overrides of the defaults, by name.

`paper` is the defaults. `imagenet` is a published protocol, too; `quick` and `demo` take minutes on
two CPU cores.
"""

from collections.abc import Mapping
from typing import Any

SEARCH: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "quick": {
        "channels": 8,
        "cells": 5,
        "epochs": 10,
        "epoch_images": 1600,
        "valid_images": 512,
        "alpha_lr": 6e-3,  # fewer steps for alpha, so longer ones
        "alpha_warmup": 0.3,
    },
    "demo": {
        "dataset": "shapes",
        "channels": 8,
        "cells": 3,
        "epochs": 3,
        "batch_size": 32,
        "epoch_images": 384,
        "valid_images": 256,
        "alpha_lr": 2e-2,
        "alpha_warmup": 0.34,
    },
}

TRAIN: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "quick": {
        "channels": 16,
        "cells": 4,
        "epochs": 6,
        "batch_size": 64,
        "lr": 0.1,
        "warmup_epochs": 0.5,
        "weight_decay": 5e-4,
        "drop_path": 0.0,
        "auxiliary": False,
        "cutout": 0,
        "ema_decay": 0.998,
    },
    "demo": {
        "dataset": "shapes",
        "channels": 8,
        "cells": 3,
        "epochs": 10,
        "batch_size": 32,
        "lr": 0.1,
        "warmup_epochs": 0.5,
        "drop_path": 0.0,
        "auxiliary": False,
        "cutout": 0,
        "ema_decay": 0.99,
    },
    "imagenet": {
        "channels": 48,
        "cells": 14,
        "stem": "imagenet",
        "image_size": 224,
        "epochs": 250,
        "batch_size": 1024,
        "lr": 0.5,
        "schedule": "linear",
        "warmup_epochs": 5.0,
        "weight_decay": 3e-5,
        "label_smoothing": 0.1,
        "drop_path": 0.0,
        "augmentation": "resized-crop",
        "cutout": 0,
        "colour_jitter": True,
    },
}
