"""sdedge search"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import cell_text, console, duration, guarded, percent, print_json

if TYPE_CHECKING:
    from sdedge.config import SearchConfig
    from sdedge.search.runner import SearchResult


@guarded
def search(
    dataset: options.Dataset = None,
    preset: Annotated[
        str, typer.Option(help="paper, quick, demo; auto is paper on a GPU, quick on a CPU.")
    ] = "auto",
    task: Annotated[
        str | None,
        typer.Option(
            help="semantic (default), classification, masked-classification, mim, reconstruction."
        ),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="darts (default) or darts-2nd.")] = None,
    channels: options.Channels = None,
    cells: options.Cells = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    epoch_images: options.EpochImages = None,
    valid_images: Annotated[
        int | None, typer.Option(help="Images that score each epoch (default: the search half).")
    ] = None,
    image_size: options.ImageSize = None,
    patch_size: Annotated[int | None, typer.Option(help="Side of a masked patch, pixels.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of patches hidden.")] = None,
    mask_fill: Annotated[
        float | None, typer.Option(help="Value of hidden pixels: 0 (paper) or 1 (authors' code).")
    ] = None,
    impl: Annotated[str | None, typer.Option(help="auto, triton or reference kernels.")] = None,
    data_root: options.DataRoot = None,
    seed: options.Seed = None,
    device: options.Device = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
    settings: options.Settings = None,
    run: options.Run = None,
    resume: options.Resume = False,
    json_output: options.Json = False,
) -> None:
    """Search a cell: DARTS guided by masked image modelling (Semantic-DARTS)."""
    overrides = options.given(
        dataset=dataset,
        task=task,
        strategy=strategy,
        channels=channels,
        cells=cells,
        epochs=epochs,
        batch_size=batch_size,
        epoch_images=epoch_images,
        valid_images=valid_images,
        image_size=image_size,
        patch_size=patch_size,
        mask_ratio=mask_ratio,
        mask_fill=mask_fill,
        impl=impl,
        data_root=data_root,
        seed=seed,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        **options.parse_settings(settings),
    )
    out = console(json_output=json_output)
    value = start_search(out, preset, overrides, run, resume=resume)
    if json_output:
        print_json(value)


def start_search(
    out: Console, preset: str, overrides: dict[str, Any], path: Path | None, *, resume: bool
) -> dict[str, Any]:
    """Run a search, tell about it on `out`, and give its JSON summary."""
    from sdedge.analysis.cell import draw_genotype
    from sdedge.cli.phases import new_run, open_dataset, resolve_preset
    from sdedge.cli.progress import ConsoleReporter
    from sdedge.config import SearchConfig
    from sdedge.run import RunDir
    from sdedge.search.phase import SearchPhase
    from sdedge.search.runner import run_search

    if resume:
        options.refuse_with_resume(overrides)
        run = RunDir.open(path)
        config = SearchConfig.from_dict(run.settings("search"), source=str(run.config))
        data = open_dataset(config, out)
        phase = SearchPhase(config, data)
    else:
        preset = resolve_preset(preset, overrides, out)
        config = SearchConfig.from_preset(preset, overrides)
        data = open_dataset(config, out)
        phase = SearchPhase(config, data)
        run = new_run(path, "search", data.name)
    _announce(out, config, run.path)
    with ConsoleReporter(out) as reporter:
        result = run_search(phase, run, reporter, resume=resume)
    for suffix in ("svg", "png"):
        draw_genotype(
            result.genotype, run.path / f"cell.{suffix}", title=f"{data.name}, {config.task}"
        )
    _report(out, result, run.path)
    return {
        "run": str(run.path),
        "genotype": result.genotype.to_dict(),
        "collapsed": result.genotype.collapsed,
        "epochs": len(result.records),
        "best_epoch": result.best_epoch,
        "search_seconds": result.seconds,
        **{k: v for k, v in result.records[-1].items() if k.startswith(("train_", "valid_"))},
    }


def _announce(out: Console, config: "SearchConfig", path: Path) -> None:
    mask = (
        f", patches of {config.patch_size} px, {config.mask_ratio:.0%} hidden"
        if config.task in ("semantic", "mim", "masked-classification")
        else ""
    )
    out.print(
        f"[bold]Search[/bold] on {config.dataset}: task {config.task}{mask}; strategy "
        f"{config.strategy}; {config.cells} cells of {config.channels} channels, "
        f"{config.epochs} epochs, batch {config.batch_size}, seed {config.seed}"
    )
    out.print(f"[dim]run directory {path}[/dim]", soft_wrap=True)


def _report(out: Console, result: "SearchResult", path: Path) -> None:
    genotype, last = result.genotype, result.records[-1]
    out.print(f"[bold]Found[/bold] in {duration(result.seconds)}")
    out.print(f"  normal     {cell_text(genotype.normal)}")
    out.print(f"  reduction  {cell_text(genotype.reduce)}")
    if "valid_accuracy" in last:
        out.print(
            f"  supernet accuracy on the search half {percent(last['valid_accuracy'])}, "
            f"best in epoch {result.best_epoch}; the cell is the last epoch's"
        )
    if genotype.collapsed:
        out.print(
            f"[yellow]This cell has collapsed: {genotype.parameter_free_count} of the "
            f"{len(genotype.normal)} operations of its normal cell are skips or pools, which "
            "learn nothing. A network of it will be weak. Search longer, with another seed, or "
            "take a published cell (sdedge genotype list).[/yellow]"
        )
    out.print(f"  {path}/genotype.json, cell.svg, cell.png", soft_wrap=True)
