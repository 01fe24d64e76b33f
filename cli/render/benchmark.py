"""How cells of NAS-Bench-201 read that a table knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from sdedge.cli.output import table


def show_cells(console: Console, cells: Sequence[Mapping[str, Any]], known: int) -> None:
    """Size and standing of each cell among the `known` ones of the table."""
    for entry in cells:
        rows = [
            (name, f"{of['accuracy']:.2f}%", f"{of['rank']:,} of {known:,}", f"{of['gap']:.2f}")
            for name, of in entry["standings"].items()
        ]
        console.print(entry["arch"], style="bold", markup=False)
        console.print(
            f"{entry['params']:,} parameters, {entry['macs']:,} multiply-accumulates "
            "(16 channels, 5 cells a stage, 10 classes, 32 px)"
        )
        console.print(
            table("", ("data set", "test accuracy", "rank", "points below the best"), rows),
            soft_wrap=False,
        )
    if cells:
        console.print(
            "[dim]Test accuracy: the table's, of cells that its authors trained on these data "
            "sets; not on images of your own.[/dim]"
        )
