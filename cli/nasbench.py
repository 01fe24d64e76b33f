"""sdedge nasbench query"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import console, guarded, print_json, shown, table
from sdedge.errors import ConfigError
from sdedge.paths import checked_path

if TYPE_CHECKING:
    from sdedge.run import RunDir
    from sdedge.search.runner import SearchResult
    from sdedge.space.nasbench201.benchmark_table import BenchmarkTable
    from sdedge.space.nasbench201.cell import Nb201Cell

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
    from sdedge.space.nasbench201.benchmark_table import DATASETS, read_benchmark_table

    if what is None and not best:
        raise ConfigError("nothing to look up; give an arch string, or --best")
    cells = [] if best or what is None else [_cell(what)]
    entries = read_benchmark_table(benchmark_table)
    if best:
        tops = [entries.best(dataset) for dataset in ([what] if what else DATASETS)]
        cells = list(dict.fromkeys(cell for top in tops for cell in top))  # each once
    found = [_summary(cell, entries) for cell in cells]
    _report(console(json_output=json_output), found, len(entries))
    if json_output:
        print_json({"cells": found, "table_cells": len(entries)})


def _cell(text: str) -> "Nb201Cell":
    """An arch string, or the one in that file, or what a search in that folder found."""
    from sdedge.run import RunDir
    from sdedge.space.nasbench201.cell import Nb201Cell, read_cell

    if text.startswith("|") or not (path := checked_path(text)).exists():
        return Nb201Cell.from_arch(text)
    if path.is_file():
        return read_cell(path)
    run = RunDir.open(path)
    return read_cell(run.require(run.genotype, "search"))


def _summary(cell: "Nb201Cell", entries: "BenchmarkTable") -> dict[str, Any]:
    from dataclasses import asdict

    from sdedge.search.lookup import look_up
    from sdedge.space.nasbench201.counting import count_cell

    return {**look_up(cell, entries), **asdict(count_cell(cell))}


def known_cells(path: str | None) -> "BenchmarkTable | None":
    """The table that settings name, if any; DataError when it cannot be read."""
    from sdedge.space.nasbench201.benchmark_table import read_benchmark_table

    return read_benchmark_table(path) if path else None


def report_epochs(
    out: Console, run: "RunDir", result: "SearchResult", entries: "BenchmarkTable"
) -> dict[str, Any]:
    """Look the cells of a search up, tell about the one found, and write and draw all epochs'.

    Cells that the table does not hold are left out, the one found with a word.
    """
    from sdedge.analysis.standings import draw_standings
    from sdedge.files import write_json
    from sdedge.search.lookup import look_up_epochs
    from sdedge.space.nasbench201.benchmark_table import DATASETS
    from sdedge.space.nasbench201.cell import Nb201Cell

    epochs = look_up_epochs(result.records, entries)
    cell = Nb201Cell.from_dict(result.genotype.to_dict())
    found = {"arch": cell.to_arch()}
    if cell in entries:
        found = _summary(cell, entries)
        _report(out, [found], len(entries))
    else:
        out.print(f"[yellow]{shown(entries.source)} does not hold this cell[/yellow]")
    best = {name: entries.highest(name) for name in DATASETS}
    write_json(run.benchmark, {**found, "best": best, "epochs": epochs})
    if epochs:
        for suffix in ("svg", "png"):
            draw_standings(epochs, best, run.benchmark_drawing(suffix), found=result.epoch + 1)
    pictures = ", benchmark.svg, benchmark.png" if epochs else ""
    out.print(f"  {shown(run.path)}/benchmark.json{pictures}")
    return found


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
    if found:
        out.print(
            "[dim]Test accuracy: the table's, of cells that its authors trained on these data "
            "sets; not on images of your own.[/dim]"
        )
