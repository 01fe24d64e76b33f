"""Settings of a search and of a training, checked when they are made. No torch.

A preset is a set of overrides of the defaults, and the defaults are the papers' CIFAR protocols:
section IV-A of Semantic-DARTS for the search, section 3.2 of DARTS for the derived network.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType, UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from sdedge.errors import ConfigError
from sdedge.escape import quoted
from sdedge.paths import path_problem


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{field} is {value!r}; it must be {rule}")


def _fits(value: object, hint: Any) -> bool:
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in choices
    if origin is UnionType:
        return any(_fits(value, choice) for choice in choices)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(choices)
            and all(map(_fits, value, choices))
        )
    if hint is int:
        return type(value) is int  # a bool is no number
    if hint is float:
        return isinstance(value, int | float) and type(value) is not bool and abs(value) < math.inf
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers, such as [0.5, 0.999]"
    names = [getattr(choice, "__name__", "null") for choice in get_args(hint) or (hint,)]
    return " or ".join({"NoneType": "null", "str": "text"}.get(name, name) for name in names)


def parse_settings(
    pairs: Iterable[str], values: Mapping[str, Any] = MappingProxyType({}), *, how: str
) -> dict[str, Any]:
    """`values`, and those of NAME=VALUE pairs, whose values are JSON or else text.

    Raises ConfigError, saying `how` they were given, for a pair without '=' or a name given twice.
    """
    parsed = dict(values)
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"{how} {pair!r} is not of the form NAME=VALUE")
        if name in parsed:
            raise ConfigError(f"{name} is given twice: {parsed[name]!r}, and {how} {pair}")
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed


_PATHS = {"dataset", "data_root", "target", "benchmark_table"}  # or names


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """What a search and a training have in common."""

    dataset: str = "cifar10"
    data_root: str = "data"  # downloads and the cache of decoded images
    data_seed: int = 0  # splits a folder that has no split, draws the shapes
    image_size: int | None = None  # pixels; None: the data set's own
    seed: int = 2
    device: str = "auto"
    epochs: int = 50
    batch_size: int = 64
    epoch_images: int | None = None  # images of one epoch; None: all of them
    cuda_graphs: bool = False  # a GPU replays the recorded step
    checkpoint_seconds: float = 300.0  # at the latest; the end of an epoch always makes one

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            _require(_fits(getattr(self, name), hint), name, getattr(self, name), _describe(hint))
        for name in _PATHS & vars(self).keys():
            if (path := getattr(self, name)) is not None and (problem := path_problem(path)):
                raise ConfigError(f"{name} is {quoted(path)}, which cannot be a path: {problem}")
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2 (batch norm)")
        for name in ("seed", "data_seed"):
            value = getattr(self, name)
            _require(0 <= value < 2**63, name, value, "between 0 and 2^63 - 1")
        size = self.image_size
        _require(size is None or 8 <= size <= 1024, "image_size", size, "between 8 and 1024")
        images = self.epoch_images
        _require(
            images is None or images >= self.batch_size,
            "epoch_images",
            images,
            f"at least one batch ({self.batch_size})",
        )
        seconds = self.checkpoint_seconds
        _require(seconds >= 0, "checkpoint_seconds", seconds, "0 or more")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @property
    def step(self) -> str:
        """How a step runs, for the record."""
        return "cuda graphs" if self.cuda_graphs else "eager"

    @property
    def stored_size(self) -> int | None:
        """Side in pixels at which images are decoded and cached."""
        return self.image_size

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str) -> Self:
        """Read the JSON form; ConfigError naming `source` for what is unknown or does not fit."""
        try:
            return cls._from_values(data)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def from_preset(
        cls,
        preset: str,
        overrides: Mapping[str, Any],
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """The preset with some settings overridden; ConfigError for what is unknown.

        `defaults` stand where neither the preset nor `overrides` says anything.
        """
        presets: dict[str, dict[str, Any]] = cls.presets()
        if preset not in presets:
            raise ConfigError(f"unknown preset {preset!r}; there is: auto, {', '.join(presets)}")
        return cls._from_values({**defaults, **presets[preset], **overrides})

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        known = sorted(field.name for field in fields(cls))
        unknown = sorted(values.keys() - set(known))
        if unknown:
            raise ConfigError(
                f"unknown settings {', '.join(unknown)}; there is: {', '.join(known)}"
            )
        fitted: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fitted)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Overrides of the defaults, by preset name."""
        raise NotImplementedError


# What people call the limits of a budget, and what a device itself has.
LIMIT_NAMES = {
    "max_latency_ms": "latency",
    "max_ram_kb": "RAM",
    "max_flash_kb": "flash",
    "max_params": "parameters",
    "ram": "RAM of the device",
    "flash": "flash of the device",
}
_LENGTHS_AND_RATES = frozenset({"epochs", "batch_size", "weight_lr", "weight_lr_min", "alpha_lr"})


def _check_network(channels: int, cells: int) -> None:
    _require(2 <= channels <= 1024, "channels", channels, "between 2 and 1024")
    _require(channels % 2 == 0, "channels", channels, "even (a reduction halves them)")
    _require(1 <= cells <= 100, "cells", cells, "between 1 and 100")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(PhaseConfig):
    """A search: supernet, task, strategy and the two optimizers."""

    space: Literal["darts", "nas-bench-201"] = "darts"
    strategy: str = "darts"
    task: str = "semantic"
    channels: int = 16
    cells: int = 8  # of the supernet; in nas-bench-201 of each of its three stages
    impl: Literal["auto", "triton", "cpu", "reference"] = "auto"
    patch_size: int = 8
    mask_ratio: float = 0.6  # the paper's for CIFAR-10; 0.7 for CIFAR-100
    mask_fill: float = 0.0  # of normalised pixels; the paper's text has 0, the authors' code 1
    weight_lr: float = 0.025
    weight_lr_min: float = 0.001
    weight_momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    alpha_lr: float = 3e-4
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_decay: float = 1e-3
    # Share of the epochs, from the first, in which alpha rests: weights learn before skips win.
    alpha_rest: float = 0.0
    valid_images: int | None = None  # of the search half, for each epoch's accuracy; None: all
    # The budget that the network is to fit; None: no limit. 1 kB is 1024 bytes.
    target: str | None = None  # device profile, by name or file
    max_latency_ms: float | None = None
    max_ram_kb: float | None = None
    max_flash_kb: float | None = None
    max_params: int | None = None
    # Share of networks that the limit on latency is to hold for; None: held against the middle of
    # the prediction.
    confidence: float | None = None
    int8: bool | None = None  # what is to be deployed; None: as the target prefers, else fp32
    # Where cells of nas-bench-201 are looked up, each epoch's when the search ends; a file.
    benchmark_table: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_network(self.channels, self.cells)
        rule = "at least 3 in a search (with fewer, every cell is a reduction)"
        _require(self.space != "darts" or self.cells >= 3, "cells", self.cells, rule)
        _require(self.patch_size >= 1, "patch_size", self.patch_size, "at least 1 pixel")
        _require(
            0 < self.mask_ratio < 1, "mask_ratio", self.mask_ratio, "between 0 and 1, exclusive"
        )
        for name in ("weight_lr", "alpha_lr", "gradient_clip"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("weight_lr_min", "weight_decay", "alpha_decay"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(
            0 <= self.weight_momentum < 1, "weight_momentum", self.weight_momentum, "in [0, 1)"
        )
        betas = self.alpha_betas
        _require(all(0 <= b < 1 for b in betas), "alpha_betas", betas, "two numbers in [0, 1)")
        _require(0 <= self.alpha_rest <= 1, "alpha_rest", self.alpha_rest, "in [0, 1]")
        images = self.valid_images
        _require(images is None or images >= 1, "valid_images", images, "at least 1")
        for name, value in self.limits.items():
            _require(value > 0, name, value, "above 0 (leave it out for no limit)")
        latency = self.max_latency_ms
        rule = "given with a target: the latency is that of a device (--target NAME)"
        _require(latency is None or self.target is not None, "max_latency_ms", latency, rule)
        share = self.confidence
        rule = "between 0.5 and 0.99, and given with a limit on latency (--max-latency-ms)"
        fits = share is None or (latency is not None and 0.5 <= share <= 0.99)
        _require(fits, "confidence", share, rule)
        rule = "left out in nas-bench-201: only cells of the DARTS space are priced"
        tabled = self.space == "nas-bench-201"
        _require(not (tabled and self.budgeted), "a target or a limit", "given", rule)
        rule = "left out: it holds cells of nas-bench-201 (--space nas-bench-201)"
        table = self.benchmark_table
        _require(tabled or table is None, "benchmark_table", table, rule)
        rule = "left out without a target or a limit: it says what a budget is for"
        _require(self.int8 is None or self.budgeted, "int8", self.int8, rule)

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that there are, by name."""
        names = ("max_latency_ms", "max_ram_kb", "max_flash_kb", "max_params")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def budgeted(self) -> bool:
        """Whether the network is to fit limits, or a device."""
        return self.target is not None or bool(self.limits)

    @classmethod
    def from_preset(
        cls,
        preset: str,
        overrides: Mapping[str, Any],
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """The preset as it is in the space that `overrides` name.

        `defaults` are a paper's: of their lengths and rates, which belong together, a shorter
        preset takes none.
        """
        if preset != "paper":
            defaults = {k: v for k, v in defaults.items() if k not in _LENGTHS_AND_RATES}
        if overrides.get("space") != "nas-bench-201":
            return super().from_preset(preset, overrides, defaults)
        # The authors' 100 epochs, and the depth of the benchmark; else one cell a stage.
        cells = 5 if preset == "paper" else 1
        return super().from_preset(
            preset, {"cells": cells, **overrides}, {"epochs": 100, **defaults}
        )

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """`paper`: the published protocol. `quick`, `demo`: minutes on two CPU cores."""
        return {
            "paper": {},
            "quick": {
                "channels": 8,
                "cells": 5,
                "epochs": 10,
                "epoch_images": 1600,
                "valid_images": 512,
                "alpha_lr": 6e-3,  # fewer steps for alpha, so longer ones
                "alpha_rest": 0.3,
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
                "alpha_rest": 0.34,
            },
        }


@dataclass(frozen=True, kw_only=True)
class TrainConfig(PhaseConfig):
    """The training of a derived network."""

    channels: int = 36
    cells: int = 20
    stem: Literal["cifar", "imagenet"] = "cifar"
    epochs: int = 600
    batch_size: int = 96
    lr: float = 0.025
    lr_min: float = 0.0
    # Cosine, step by step; linear, epoch by epoch, with five last epochs at a fifth of the slope.
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    label_smoothing: float = 0.0
    drop_path: float = 0.2  # reached linearly at the last epoch
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    augmentation: Literal["crop-flip", "resized-crop", "none"] = "crop-flip"
    cutout: int = 16  # pixels; 0: none
    colour_jitter: bool = False  # the ImageNet recipe's 0.4, 0.4, 0.4, 0.2
    ema_decay: float = 0.0  # 0: none
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_network(self.channels, self.cells)
        for name in ("lr", "gradient_clip"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("lr_min", "weight_decay", "auxiliary_weight", "cutout"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("momentum", "label_smoothing", "drop_path", "ema_decay"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        linear = self.schedule == "linear"
        _require(not linear or self.epochs > 5, "epochs", self.epochs, "over 5 (linear schedule)")
        warmup = self.warmup_epochs
        _require(0 <= warmup < self.epochs, "warmup_epochs", warmup, f"in [0, {self.epochs})")

    @property
    def stored_size(self) -> int | None:
        """Larger than the network's input by 8/7 where crops are cut: 256 for 224."""
        if self.image_size is None or self.augmentation != "resized-crop":
            return self.image_size
        return self.image_size * 8 // 7

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """`paper`, `imagenet`: published protocols. `quick`, `demo`: minutes on two CPU cores."""
        return {
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
