"""sdedge genotype show | count | list"""

from pathlib import Path
from typing import Annotated, Any

import typer

from sdedge.bounds import Classes
from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import cell_text, console, guarded, print_json, shown, table
from sdedge.config import TrainConfig, check_setting
from sdedge.errors import ConfigError
from sdedge.run import RunDir, read_json

app = App(no_args_is_help=True, help="Show, draw and count genotypes.")

_DEFAULT_SIZE: dict[str, Any] = {
    "cells": 20,
    "channels": 36,
    "classes": 10,
    "stem": "cifar",
    "image_size": 32,
}
_PAPERS = "the papers' networks for CIFAR-10"

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
    from sdedge.genotype import load_genotype, named_run
    from sdedge.space.darts.counting import count_genotype

    genotype = load_genotype(name)
    given = {
        "cells": cells,
        "channels": channels,
        "classes": classes,
        "stem": stem,
        "image_size": image_size,
    }
    path = named_run(name)
    own, source = own_size(RunDir(path)) if path else ({}, _PAPERS)
    size = {**_DEFAULT_SIZE, **own, **{k: v for k, v in given.items() if v is not None}}
    if size["classes"] < 2:
        raise ConfigError(f"classes is {size['classes']}; it must be at least 2")
    check_setting("classes", size["classes"], Classes)
    TrainConfig(**{name: value for name, value in size.items() if name != "classes"})
    counts = count_genotype(genotype, **size)
    if json_output:
        print_json(
            {
                "genotype": name,
                "params": counts.params,
                "macs": counts.macs,
                **size,
                "size_from": source,
            }
        )
        return
    out = console()
    out.print(
        f"{shown(name)}: {counts.params:,} parameters, {counts.macs:,} multiply-accumulates "
        f"({size['cells']} cells, {size['channels']} channels, {size['classes']} classes, "
        f"{size['image_size']} px)"
    )
    changed = [option for option, value in given.items() if value is not None]
    but = f"; {', '.join(changed)} as given" if changed else ""
    out.print(f"[dim]sizes are those of {source}{but}[/dim]")


def own_size(run: RunDir) -> tuple[dict[str, Any], str]:
    """Width, depth and the rest of the network of `run` as far as known, and where from.

    Raises RunError for a damaged file.
    """
    if run.weights.exists():
        from sdedge.checkpoint import read_checkpoint
        from sdedge.space.saved import NetworkDescription

        header = read_checkpoint(run.weights).header
        network = NetworkDescription.from_dict(header, source=str(run.weights))
        sizes = {name: getattr(network, name) for name in _DEFAULT_SIZE}
        return {**sizes, "classes": len(network.classes)}, "the run's trained network"
    if trained := run.phases().get("train"):
        config = TrainConfig.from_dict(trained, source=str(run.config))
        known = {name: getattr(config, name) for name in ("cells", "channels", "stem")}
        if config.image_size is not None:
            known["image_size"] = config.image_size
        return known, "the run's training, which is not finished"
    budget = run.budget
    plan = read_json(budget) if budget.exists() else {}
    if chosen := plan.get("chosen"):
        from sdedge.deploy.fit.requirements import Requirements

        Requirements.from_dict(plan, source=str(budget))  # checks the sizes in it, too
        names = ("cells", "channels", "classes", "image_size")
        return {name: {**plan, **chosen}[name] for name in names}, "the run's budget"
    return {}, f"{_PAPERS}, as the run has none yet"


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
