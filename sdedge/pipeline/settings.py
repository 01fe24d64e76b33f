"""Settings as the chain takes them: presets, absolute paths, and what a resumed run may change."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from sdedge.config import PhaseConfig, SearchConfig, TrainConfig, options_of
from sdedge.data.catalog import DATASETS
from sdedge.device import select_device
from sdedge.errors import ConfigError
from sdedge.escape import short
from sdedge.names import find_name
from sdedge.paths import checked_path
from sdedge.run import RunDir

C = TypeVar("C", bound=PhaseConfig)
MAY_MOVE = ("dataset", "data_root")  # settings of a run that may change while it rests


def resolve_preset(preset: str, settings: Mapping[str, Any]) -> str:
    """The preset as it is spelled; `auto` is `paper` on a GPU and `quick` on a CPU."""
    if find_name(preset, ("auto",)) is None:
        return find_name(preset, (*SearchConfig.presets(), *TrainConfig.presets())) or preset
    device = select_device(str(settings.get("device", "auto")))
    return "paper" if device.type == "cuda" else "quick"


def preset_text(asked: str, preset: str) -> str:
    """The preset in words, and why it was taken where the user left that open."""
    reasons = {
        "paper": "chosen for the GPU",
        "quick": "chosen for the CPU, where the paper's protocol takes days; "
        "--preset paper runs it",
    }
    return f"preset {preset}" + (f" ({reasons[preset]})" if find_name(asked, ("auto",)) else "")


def check_whole(
    config: PhaseConfig | None,
    kind: type[PhaseConfig],
    preset: str,
    settings: Collection[str],
    *,
    resume: bool,
) -> None:
    """ConfigError where a whole config comes with other settings, a preset, or a resume.

    Or where it is no config of this `kind`, or the preset is no name.
    """
    if not isinstance(preset, str):
        raise ConfigError(f"preset is {short(preset)}; it must be a name, such as auto")
    if config is None:
        return
    if not isinstance(config, kind):
        raise ConfigError(f"config is a {type(config).__name__}; it must be a {kind.__name__}")
    if resume:
        raise ConfigError("a resumed run keeps its own settings; leave out the config")
    if settings or preset != "auto":
        given = ", ".join(sorted(settings)) or f"preset {preset}"
        raise ConfigError(
            f"a config holds every setting; leave out {given}, or change the config "
            "(dataclasses.replace)"
        )


def absolute(path: str) -> str:
    """A path that means the same from any folder."""
    return str(checked_path(path).absolute())


def with_absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Paths are stored absolute, so a run resumes from any folder."""
    fixed = {"data_root": "data", **settings}
    for name in ("data_root", "benchmark_table"):
        if isinstance(path := fixed.get(name), str):  # the config refuses anything else
            fixed[name] = absolute(path)
    if isinstance(dataset := fixed.get("dataset"), str):
        folder = dataset not in DATASETS and checked_path(dataset).is_dir()
        fixed["dataset"] = absolute(dataset) if folder else find_name(dataset, DATASETS) or dataset
    return fixed


def absolute_config(config: C) -> C:
    """`config` with absolute paths."""
    given = config.to_dict()
    fixed = with_absolute_paths(given)
    return replace(config, **{n: v for n, v in fixed.items() if n in given and v != given[n]})


def refuse_with_resume(settings: Collection[str]) -> None:
    """A resumed run keeps its settings; ConfigError names those that were given."""
    if settings:
        names = ", ".join(map(_option, settings))
        raise ConfigError(f"--resume uses the run's own settings; leave out {names}")


def _option(name: str) -> str:
    """How the command line gives a setting."""
    configs = (SearchConfig, TrainConfig)
    own = any(name in options_of(config) for config in configs)
    known = any(name in config.__dataclass_fields__ for config in configs)
    return f"--set {name}" if known and not own else "--" + name.replace("_", "-")


def moved_settings(settings: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Where the images of a resumed run are now; all that may come with a resume.

    Raises ConfigError for other `settings`, and for the options named in `others`.
    """
    moved = {name: value for name, value in settings.items() if name in MAY_MOVE}
    refuse_with_resume([*(name for name in settings if name not in moved), *others])
    fixed = with_absolute_paths(moved)
    return {name: fixed[name] for name in moved}


def resumed_config(run: RunDir, phase: str, kind: type[C], moved: Mapping[str, Any]) -> C:
    """The settings of a phase that resumes, whose images may have moved."""
    config = kind.from_dict(run.settings(phase), source=str(run.config))
    return replace(config, **moved)
