"""What the settings of a search and of a training have in common."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self, get_type_hints

from sdedge import bounds
from sdedge.config.option import option
from sdedge.config.validation import check_setting, require, shown_name
from sdedge.errors import ConfigError
from sdedge.escape import quoted, short
from sdedge.names import choose, suggestion
from sdedge.paths import path_problem

__all__ = ["PhaseConfig"]

_RENAMED = {"alpha_rest": "alpha_warmup"}  # settings of earlier versions
_PATHS = {"dataset", "data_root", "target", "benchmark_table"}  # or names


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """What a search and a training have in common."""

    dataset: bounds.PathText = option(
        "cifar10", "cifar10 (the default), cifar100, shapes, or a folder of class folders."
    )
    data_root: bounds.PathText = option(
        "data", "Folder for downloads and decoded images (default: data)."
    )
    data_seed: bounds.Seed = 0  # splits a folder that has no split, draws the shapes
    # None: the data set's own.
    image_size: bounds.ImageSize | None = option(None, "Side in pixels that images are resized to.")
    channels: bounds.Channels = option(16, "Channels of the first cell (width).")
    # In nas-bench-201, of each of its three stages.
    cells: bounds.Cells = option(8, "Number of cells (depth).")
    epochs: bounds.Epochs = option(50, "Passes over the data.")
    batch_size: bounds.BatchSize = option(64, "Images a step.")
    epoch_images: bounds.Images | None = option(None, "Images an epoch (default: all).")
    seed: bounds.Seed = option(2, "Decides every random number.")
    device: bounds.Name = option("auto", "auto, cpu, cuda or cuda:N.")
    cuda_graphs: bool = option(False, "Let the GPU replay recorded steps (default: no).")
    # At the latest: each epoch's end makes one, too.
    checkpoint_seconds: bounds.Seconds = option(
        300.0, "Longest time between checkpoints within an epoch."
    )

    def __post_init__(self) -> None:
        for name, kind in _types(type(self)).items():
            check_setting(name, getattr(self, name), kind)
        for name in _PATHS & vars(self).keys():
            if (path := getattr(self, name)) is not None and (problem := path_problem(path)):
                raise ConfigError(f"{name} is {quoted(path)}, which cannot be a path: {problem}")
        images = self.epoch_images
        require(
            images is None or images >= self.batch_size,
            "epoch_images",
            images,
            f"at least one batch ({self.batch_size})",
        )
        even = self.channels % 2 == 0
        require(even, "channels", self.channels, "even (a reduction halves them)")

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
        """Read the JSON form, also of an earlier version that named a setting differently.

        Raises ConfigError naming `source` for what is unknown or does not fit.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{source}: the settings are {short(data)}, and no JSON object")
        try:
            return cls._from_values({_RENAMED.get(str(k), str(k)): v for k, v in data.items()})
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
        presets = cls.presets()
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
            names, known_names = ", ".join(map(shown_name, unknown)), ", ".join(sorted(known))
            new_name = _RENAMED.get(unknown[0])
            closest = f" (did you mean {new_name}?)" if new_name else suggestion(unknown[0], known)
            raise ConfigError(f"unknown settings {names}{closest}; choose from {known_names}")
        return {name: check_setting(name, value, known[name]) for name, value in values.items()}

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Overrides of the defaults, by preset name."""
        raise NotImplementedError


def _types(config: type[PhaseConfig]) -> dict[str, Any]:
    """The type of each field, with its bounds."""
    return get_type_hints(config, include_extras=True)
