"""Settings of a search and of a training, checked when they are made. No torch.

A preset is a set of overrides of the defaults, and the defaults are the papers' CIFAR protocols:
section IV-A of Semantic-DARTS for the search, section 3.2 of DARTS for the derived network.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, get_type_hints

import msgspec

from sdedge import bounds
from sdedge.bounds import check_setting
from sdedge.errors import ConfigError
from sdedge.escape import printable, quoted, short
from sdedge.names import choose, find_name, suggestion
from sdedge.paths import path_problem


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{field} is {short(value)}; it must be {rule}")


def _types(config: type["PhaseConfig"]) -> dict[str, Any]:
    """The type of each field, with its bounds."""
    return get_type_hints(config, include_extras=True)


def _cut(name: str) -> str:
    return printable(name[:50])


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
            raise ConfigError(f"{how} {short(pair)} is not of the form NAME=VALUE")
        if name in parsed:
            raise ConfigError(
                f"{_cut(name)} is given twice: {short(parsed[name])}, and {how} {_cut(pair)}"
            )
        try:
            parsed[name] = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            parsed[name] = text
    return parsed


_RENAMED = {"alpha_rest": "alpha_warmup"}  # settings of earlier versions
_PATHS = {"dataset", "data_root", "target", "benchmark_table"}  # or names


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """What a search and a training have in common."""

    dataset: bounds.PathText = "cifar10"
    data_root: bounds.PathText = "data"  # downloads and the cache of decoded images
    data_seed: bounds.Seed = 0  # splits a folder that has no split, draws the shapes
    image_size: bounds.ImageSize | None = None  # pixels; None: the data set's own
    seed: bounds.Seed = 2
    device: bounds.Name = "auto"
    epochs: bounds.Epochs = 50
    batch_size: bounds.BatchSize = 64
    epoch_images: bounds.Images | None = None  # images of one epoch; None: all of them
    cuda_graphs: bool = False  # a GPU replays the recorded step
    checkpoint_seconds: bounds.Seconds = 300.0  # at the latest; each epoch's end makes one, too

    def __post_init__(self) -> None:
        for name, kind in _types(type(self)).items():
            check_setting(name, getattr(self, name), kind)
        for name in _PATHS & vars(self).keys():
            if (path := getattr(self, name)) is not None and (problem := path_problem(path)):
                raise ConfigError(f"{name} is {quoted(path)}, which cannot be a path: {problem}")
        images = self.epoch_images
        _require(
            images is None or images >= self.batch_size,
            "epoch_images",
            images,
            f"at least one batch ({self.batch_size})",
        )

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
    def from_dict(cls, data: object, *, source: str) -> Self:
        """Read the JSON form; ConfigError naming `source` for what is unknown or does not fit."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"{source}: the settings are {short(data)}, and no JSON object")
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
            choose(preset, ["auto", *presets], "preset")
        return cls._from_values({**defaults, **presets[preset], **overrides})

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        return cls(**cls.check(values))

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Some of the settings, each looked at by itself; ConfigError for what does not fit."""
        known = _types(cls)
        if unknown := sorted(values.keys() - known.keys()):
            names, known_names = ", ".join(map(_cut, unknown)), ", ".join(sorted(known))
            new_name = _RENAMED.get(unknown[0])
            closest = f" (did you mean {new_name}?)" if new_name else suggestion(unknown[0], known)
            raise ConfigError(f"unknown settings {names}{closest}; choose from {known_names}")
        return {name: check_setting(name, value, known[name]) for name, value in values.items()}

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


def _check_even(channels: int) -> None:
    _require(channels % 2 == 0, "channels", channels, "even (a reduction halves them)")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(PhaseConfig):
    """A search: supernet, task, strategy and the two optimizers."""

    space: Literal["darts", "nas-bench-201"] = "darts"
    strategy: bounds.Name = "darts"
    task: bounds.Name = "semantic"
    channels: bounds.Channels = 16
    cells: bounds.Cells = 8  # of the supernet; in nas-bench-201 of each of its three stages
    impl: Literal["auto", "triton", "cpu", "reference"] = "auto"
    patch_size: bounds.PatchSize = 8
    mask_ratio: bounds.OpenShare = 0.6  # the paper's for CIFAR-10; 0.7 for CIFAR-100
    # Of normalised pixels; the paper's text has 0, the authors' code 1.
    mask_fill: bounds.Pixel = 0.0
    weight_lr: bounds.Positive = 0.025
    weight_lr_min: bounds.NotNegative = 0.001
    weight_momentum: bounds.ShareBelow1 = 0.9
    weight_decay: bounds.NotNegative = 3e-4
    gradient_clip: bounds.Positive = 5.0
    alpha_lr: bounds.Positive = 3e-4
    alpha_betas: tuple[bounds.ShareBelow1, bounds.ShareBelow1] = (0.5, 0.999)
    alpha_decay: bounds.NotNegative = 1e-3
    # Share of the epochs, from the first, that train weights alone: they learn before skips win.
    alpha_warmup: bounds.Share = 0.0
    # Of the search half, for each epoch's accuracy; None: all.
    valid_images: bounds.Images | None = None
    # The budget that the network is to fit; None: no limit. 1 kB is 1024 bytes.
    target: bounds.PathText | None = None  # device profile, by name or file
    max_latency_ms: bounds.LatencyMs | None = None
    max_ram_kb: bounds.Kilobytes | None = None
    max_flash_kb: bounds.Kilobytes | None = None
    max_params: bounds.Parameters | None = None
    # Share of networks that the limit on latency is to hold for; None: held against the middle of
    # the prediction.
    confidence: bounds.Confidence | None = None
    int8: bool | None = None  # what is to be deployed; None: as the target prefers, else fp32
    # Where cells of nas-bench-201 are looked up, each epoch's when the search ends; a file.
    benchmark_table: bounds.PathText | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_even(self.channels)
        rule = "at least 3 in a search (with fewer, every cell is a reduction)"
        _require(self.space != "darts" or self.cells >= 3, "cells", self.cells, rule)
        latency = self.max_latency_ms
        rule = "given with a target: the latency is that of a device (--target NAME)"
        _require(latency is None or self.target is not None, "max_latency_ms", latency, rule)
        share = self.confidence
        rule = "given with a limit on latency (--max-latency-ms)"
        _require(share is None or latency is not None, "confidence", share, rule)
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
        if find_name(str(overrides.get("space")), ("nas-bench-201",)) is None:
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
        _check_even(self.channels)
        linear = self.schedule == "linear"
        _require(not linear or self.epochs > 5, "epochs", self.epochs, "over 5 (linear schedule)")
        warmup = self.warmup_epochs
        _require(warmup < self.epochs, "warmup_epochs", warmup, f"less than epochs ({self.epochs})")

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
