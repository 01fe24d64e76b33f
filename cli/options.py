"""Options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sdedge.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Run = Annotated[
    Path | None, typer.Option("--run", help="Run directory; by default a new or the newest one.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Dataset = Annotated[
    str | None,
    typer.Option(help="cifar10, cifar100, shapes, or a folder of class folders."),
]
DataRoot = Annotated[
    str | None, typer.Option(help="Folder for downloads and decoded images (default: data).")
]
ImageSize = Annotated[int | None, typer.Option(help="Side in pixels that images are resized to.")]
Channels = Annotated[int | None, typer.Option(help="Channels of the first cell (width).")]
Cells = Annotated[int | None, typer.Option(help="Number of cells (depth).")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data.")]
BatchSize = Annotated[int | None, typer.Option(help="Images a step.")]
EpochImages = Annotated[int | None, typer.Option(help="Images an epoch (default: all).")]
Seed = Annotated[int | None, typer.Option(help="Decides every random number.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
CheckpointSeconds = Annotated[
    float | None, typer.Option(help="Longest time between checkpoints within an epoch.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of config.json."),
]


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs; the value is JSON, or else text. ConfigError when there is no '='."""
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair!r} is not of the form NAME=VALUE")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return settings


def given(**options: Any) -> dict[str, Any]:
    """The options that were used on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_with_resume(options: dict[str, Any]) -> None:
    """A resumed run keeps its settings; ConfigError names those that came with --resume."""
    if options:
        names = ", ".join("--" + name.replace("_", "-") for name in options)
        raise ConfigError(f"--resume goes on with the run's own settings; leave out {names}")
