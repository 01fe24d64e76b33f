"""sdedge nasbench query"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json, table
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.nasbench201 import Nb201Cell
    from sdedge.search.benchmark_table import BenchmarkTable

app = typer.Typer(no_args_is_help=True, help="Look cells of NAS-Bench-201 up.")


@app.command()
@guarded
def query(
    benchmark_table: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Accuracies: a CSV file, or a NATS-Bench archive."),
    ],
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCH | DATASET",
            help="A cell, '|nor_conv_3x3~0|+|...' in quotes; with --best, a data set.",
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best cells of DATASET, or of each data set.")
    ] = False,
    json_output: options.Json = False,
) -> None:
    """Tell what a cell reaches when it is trained in full, and how far that is from the best."""
    from sdedge.nasbench201 import Nb201Cell
    from sdedge.search.benchmark_table import DATASETS, read_benchmark_table

    if what is None and not best:
        raise ConfigError("nothing to look up; give an arch string, or --best")
    cells = [] if best or what is None else [Nb201Cell.from_arch(what)]
    entries = read_benchmark_table(benchmark_table)
    if best:
        tops = [entries.best(dataset) for dataset in ([what] if what else DATASETS)]
        cells = list(dict.fromkeys(cell for top in tops for cell in top))  # each once
    found = [_summary(cell, entries) for cell in cells]
    _report(console(json_output=json_output), found, len(entries))
    if json_output:
        print_json({"cells": found, "table_cells": len(entries)})


def _summary(cell: "Nb201Cell", entries: "BenchmarkTable") -> dict[str, Any]:
    from dataclasses import asdict

    from sdedge.space.nasbench201 import count_cell

    return {
        "arch": cell.to_arch(),
        **asdict(count_cell(cell)),
        "standings": {name: asdict(standing) for name, standing in entries.query(cell).items()},
    }


def _report(out: Console, found: list[dict[str, Any]], cells: int) -> None:
    for entry in found:
        rows = [
            (name, f"{of['accuracy']:.2f}%", f"{of['rank']:,} of {cells:,}", f"{of['gap']:.2f}")
            for name, of in entry["standings"].items()
        ]
        out.print(entry["arch"], style="bold", markup=False)
        out.print(
            f"{entry['params']:,} parameters, {entry['macs']:,} multiply-accumulates "
            "(16 channels, 5 cells a stage, 10 classes, 32 px)"
        )
        out.print(
            table("", ("data set", "test accuracy", "rank", "points below the best"), rows),
            soft_wrap=False,
        )
