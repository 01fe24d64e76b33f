"""Options that several commands share."""

import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from sdedge.config import PhaseConfig, parse_settings
from sdedge.errors import ConfigError
from sdedge.escape import quoted

MAX_SIDE = 65_536  # of an image, pixels

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NewRun = Annotated[
    Path | None, typer.Option("--run", help="Run directory; default: a new one below runs/.")
]
Run = Annotated[
    Path | None, typer.Option("--run", help="Run directory; default: the newest below runs/.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Dataset = Annotated[
    str | None,
    typer.Option(help="cifar10 (the default), cifar100, shapes, or a folder of class folders."),
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
ValidImages = Annotated[
    int | None, typer.Option(help="Images that score each epoch (default: the search half).")
]
PatchSize = Annotated[int | None, typer.Option(help="Side of a masked patch, pixels.")]
Space = Annotated[
    str | None, typer.Option(help="darts (default), or nas-bench-201, whose cells are known.")
]
BenchmarkTable = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="In nas-bench-201: what its cells reach; CSV or NATS-Bench."),
]
Seed = Annotated[int | None, typer.Option(help="Decides every random number.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
CudaGraphs = Annotated[
    bool | None,
    typer.Option(
        "--cuda-graphs/--no-cuda-graphs", help="Let the GPU replay recorded steps (default: no)."
    ),
]
CheckpointSeconds = Annotated[
    float | None, typer.Option(help="Longest time between checkpoints within an epoch.")
]
Target = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Device to fit, by name or profile; see `sdedge targets`."),
]
MaxLatencyMs = Annotated[float | None, typer.Option(help="The longest latency, on the target.")]
Confidence = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Hold the limit on latency against the upper end of this interval of the prediction, "
        "such as 0.9 (default: against its middle).",
    ),
]
MaxRamKb = Annotated[float | None, typer.Option(help="The most RAM, in kB of 1024 bytes.")]
MaxFlashKb = Annotated[float | None, typer.Option(help="The most flash, in kB of 1024 bytes.")]
MaxParams = Annotated[int | None, typer.Option(help="The most parameters.")]
Shape = Annotated[
    str | None, typer.Option(metavar="C,H,W", help="For a model without a fixed image size.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of config.json."),
]


def overrides(
    context: typer.Context, config: type[PhaseConfig], pairs: list[str] | None
) -> dict[str, Any]:
    """The settings of `config` that the command line gave, by options or by --set NAME=VALUE.

    Raises ConfigError for a pair without '=', a setting that is given twice, one that is unknown,
    and a value that is out of its range or of another type.
    """
    names = {field.name for field in fields(config)}
    values = {k: v for k, v in context.params.items() if k in names and v is not None}
    return config.check(parse_settings(pairs or [], values, how="--set"))


def refuse_with_resume(given: Collection[str]) -> None:
    """A resumed run keeps its settings; ConfigError names those that came with --resume."""
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"--resume goes on with the run's own settings; leave out {names}")


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
