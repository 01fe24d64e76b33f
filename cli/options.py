"""Options that several commands share, and those that the settings of a config make."""

import inspect
import re
from collections.abc import Callable, Collection
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from sdedge.config import PhaseConfig, SearchConfig, options_of, parse_settings
from sdedge.errors import ConfigError
from sdedge.escape import quoted

MAX_SIDE = 65_536  # of an image, pixels


def _option(config: type[PhaseConfig], name: str) -> Any:
    """The option of a setting, as its config declares it."""
    shown = options_of(config)[name]
    return typer.Option(*filter(None, [shown.flag]), help=shown.help, metavar=shown.metavar)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NewRun = Annotated[
    Path | None, typer.Option("--run", help="Run directory; default: a new one below runs/.")
]
Run = Annotated[
    Path | None, typer.Option("--run", help="Run directory; default: the newest below runs/.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
# Settings of a config that other commands take as well.
DataRoot = Annotated[str | None, _option(SearchConfig, "data_root")]
Seed = Annotated[int | None, _option(SearchConfig, "seed")]
Device = Annotated[str | None, _option(SearchConfig, "device")]
MaxLatencyMs = Annotated[float | None, _option(SearchConfig, "max_latency_ms")]
Confidence = Annotated[float | None, _option(SearchConfig, "confidence")]
MaxRamKb = Annotated[float | None, _option(SearchConfig, "max_ram_kb")]
MaxFlashKb = Annotated[float | None, _option(SearchConfig, "max_flash_kb")]
MaxParams = Annotated[int | None, _option(SearchConfig, "max_params")]
Shape = Annotated[
    str | None, typer.Option(metavar="C,H,W", help="For a model without a fixed image size.")
]
_Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of config.json."),
]


def from_config(
    config: type[PhaseConfig], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: an option for each setting that declares one, and --set for the others.

    They stand where the command has its parameter `overrides`: the settings that were given, each
    checked by itself. The call raises ConfigError for a setting that is given twice, unknown, or
    out of its range.
    """
    names = [name for name in options_of(config) if name not in without]
    types = get_type_hints(config)
    own = [
        _parameter(name, Annotated[_value_type(types[name]) | None, _option(config, name)])
        for name in names
    ]
    own.append(_parameter("settings", _Settings))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            given = {name: value for name, value in given.items() if value is not None}
            pairs = values.pop("settings") or []
            overrides = config.check(parse_settings(pairs, given, how="--set"))
            command(overrides=overrides, **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += own if parameter.name == "overrides" else [parameter]
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return decorate


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _value_type(kind: Any) -> Any:
    """The type of one value of a setting; its bounds are checked by the config."""
    if get_origin(kind) is Literal:
        return str  # in any spelling that the config knows
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if parts else kind


def image_shape(text: str | None) -> tuple[int, ...] | None:
    """The three dimensions that --shape gives, in the model's order; ConfigError for others."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise ConfigError(f"--shape {quoted(text)} is not three numbers, such as 3,32,32")
    shape = tuple(map(int, parts))
    if not all(1 <= size <= MAX_SIDE for size in shape):
        raise ConfigError(
            f"--shape {quoted(text)} has a dimension that is not between 1 and {MAX_SIDE:,}"
        )
    return shape
