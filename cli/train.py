"""sdedge train"""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.config import TrainConfig

if TYPE_CHECKING:
    from sdedge.pipeline.train import TrainResult


@guarded
@options.from_config(TrainConfig)
def train(
    *,
    genotype: Annotated[
        str | None,
        typer.Option(
            help="Published name, run directory, file (JSON, or Genotype(...) as DARTS prints "
            "it), or that text; default: the run's own."
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="paper, quick, demo, imagenet; auto is paper on a GPU, quick on a CPU."),
    ] = "auto",
    overrides: dict[str, Any],
    run: options.Run = None,
    resume: options.Resume = False,
    json_output: options.Json = False,
) -> None:
    """Train the network that a genotype makes."""
    out = console(json_output=json_output)
    result = train_and_show(
        out, genotype=genotype, preset=preset, run=run, resume=resume, **overrides
    )
    if json_output:
        print_json(result.to_dict())


def train_and_show(out: Console, **arguments: Any) -> "TrainResult":
    """Train, and show on `out` how it goes and what comes of it; see `sdedge.train`."""
    from sdedge.cli.render.progress import ConsoleReporter
    from sdedge.cli.render.train import show_training
    from sdedge.pipeline.train import train as run_training

    with ConsoleReporter(out) as reporter:
        result = run_training(reporter=reporter, **arguments)
    show_training(out, result)
    return result
