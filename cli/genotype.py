"""sdedge genotype show | count | list"""

from pathlib import Path
from typing import Annotated, Any

import typer

from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import cell_text, console, guarded, print_json, shown, table

app = App(no_args_is_help=True, help="Show, draw and count genotypes.")

Name = Annotated[str, typer.Argument(help="Published name, JSON file or run directory.")]


@app.command()
@guarded
def show(
    name: Name,
    draw: Annotated[Path | None, typer.Option(help="Write a drawing here, .svg or .png.")] = None,
    json_output: options.Json = False,
) -> None:
    """Print a genotype, and draw its cells."""
    from sdedge.genotype import load_genotype

    genotype = load_genotype(name)
    if draw is not None:
        from sdedge.analysis.darts_cell import draw_genotype

        draw_genotype(genotype, draw, title=name)
    if json_output:
        print_json(genotype.to_dict())
        return
    out = console()
    out.print(f"[bold]{shown(name)}[/bold]")
    out.print(f"  normal     {cell_text(genotype.normal)}")
    out.print(f"  reduction  {cell_text(genotype.reduce)}")
    out.print(
        f"  {genotype.skip_count} skips and "
        f"{genotype.parameter_free_count - genotype.skip_count} pools in the normal cell"
        + (" [yellow](collapsed)[/yellow]" if genotype.collapsed else "")
    )
    if draw is not None:
        out.print(f"  drawn to {shown(draw)}")


@app.command()
@guarded
def count(
    name: Name,
    cells: Annotated[int | None, typer.Option(help="Depth (20).")] = None,
    channels: Annotated[int | None, typer.Option(help="Width (36).")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs (10).")] = None,
    stem: Annotated[str | None, typer.Option(help="cifar (the default) or imagenet.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels (32).")] = None,
    json_output: options.Json = False,
) -> None:
    """Count parameters and multiply-accumulates, the auxiliary head left out.

    For a run, of its own network; for a cell alone, of the papers' for CIFAR-10.
    """
    from sdedge.pipeline.count import count as count_network

    given: dict[str, Any] = {
        "cells": cells,
        "channels": channels,
        "classes": classes,
        "stem": stem,
        "image_size": image_size,
    }
    result = count_network(name, **given)
    if json_output:
        print_json(result.to_dict())
        return
    out, counts, size = console(), result.counts, result.size
    out.print(
        f"{shown(name)}: {counts.params:,} parameters, {counts.macs:,} multiply-accumulates "
        f"({size['cells']} cells, {size['channels']} channels, {size['classes']} classes, "
        f"{size['image_size']} px)"
    )
    changed = [option for option, value in given.items() if value is not None]
    but = f"; {', '.join(changed)} as given" if changed else ""
    out.print(f"[dim]sizes are those of {result.source}{but}[/dim]")


@app.command("list")
@guarded
def list_published(json_output: options.Json = False) -> None:
    """List the published genotypes."""
    from sdedge.genotype import published

    if json_output:
        print_json({"genotypes": [entry.name for entry in published().values()]})
        return
    console().print(
        table(
            "published genotypes",
            ("name", "read in"),
            ((entry.name, entry.source) for entry in published().values()),
        ),
        soft_wrap=False,
    )
