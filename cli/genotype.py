"""sdedge genotype show | count | list"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from sdedge.cli import options
from sdedge.cli.output import cell_text, console, guarded, print_json, shown, table
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.space.network import Stem

app = typer.Typer(no_args_is_help=True, help="Show, draw and count genotypes.")

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
        from sdedge.analysis.cell import draw_genotype

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
    cells: Annotated[int, typer.Option(help="Depth.")] = 20,
    channels: Annotated[int, typer.Option(help="Width.")] = 36,
    classes: Annotated[int, typer.Option(help="Outputs.")] = 10,
    stem: Annotated[str, typer.Option(help="cifar or imagenet.")] = "cifar",
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 32,
    json_output: options.Json = False,
) -> None:
    """Count parameters and multiply-accumulates, the auxiliary head left out."""
    from sdedge.config import TrainConfig
    from sdedge.genotype import load_genotype
    from sdedge.space.counting import count_genotype

    genotype = load_genotype(name)
    if classes < 2:
        raise ConfigError(f"classes is {classes}; it must be at least 2")
    TrainConfig(
        cells=cells,
        channels=channels,
        stem=cast(Literal["cifar", "imagenet"], stem),
        image_size=image_size,
    )
    counts = count_genotype(
        genotype,
        channels=channels,
        cells=cells,
        classes=classes,
        stem=cast("Stem", stem),
        image_size=image_size,
    )
    if json_output:
        print_json({"genotype": name, "params": counts.params, "macs": counts.macs})
        return
    console().print(
        f"{shown(name)}: {counts.params:,} parameters, {counts.macs:,} multiply-accumulates "
        f"({cells} cells, {channels} channels, {classes} classes, {image_size} px)"
    )


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
