"""sdedge nasbench query"""

from pathlib import Path
from typing import Annotated

import typer

from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import console, guarded, print_json

app = App(no_args_is_help=True, help="Look cells of NAS-Bench-201 up.")


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
            metavar="ARCH | FILE | RUN | DATASET",
            help="A cell, '|nor_conv_3x3~0|+|...' in quotes or in a file, or the run directory of "
            "a search; with --best, a data set.",
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best cells of DATASET, or of each data set.")
    ] = False,
    json_output: options.Json = False,
) -> None:
    """Tell what a cell reaches when it is trained in full, and how far that is from the best."""
    from sdedge.cli.render.benchmark import show_cells
    from sdedge.pipeline.benchmark import query_cells
    from sdedge.space.nasbench201.benchmark_table import read_benchmark_table

    table = read_benchmark_table(benchmark_table)
    cells = query_cells(table, what, best=best)
    show_cells(console(json_output=json_output), cells, len(table))
    if json_output:
        print_json({"cells": cells, "table_cells": len(table)})
