"""sdedge train"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, duration, guarded, percent, print_json

if TYPE_CHECKING:
    from sdedge.config import TrainConfig
    from sdedge.genotype import Genotype

# What a training takes over from the search in the same run directory.
_INHERITED = ("dataset", "data_root", "data_seed", "image_size", "seed")


@guarded
def train(
    genotype: Annotated[
        str | None,
        typer.Option(help="Published name, JSON file or run directory; default: the run's own."),
    ] = None,
    dataset: options.Dataset = None,
    preset: Annotated[
        str,
        typer.Option(help="paper, quick, demo, imagenet; auto is paper on a GPU, quick on a CPU."),
    ] = "auto",
    channels: options.Channels = None,
    cells: options.Cells = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    epoch_images: options.EpochImages = None,
    image_size: options.ImageSize = None,
    stem: Annotated[str | None, typer.Option(help="cifar, or imagenet (1/8 resolution).")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Drop path at the last epoch.")] = None,
    cutout: Annotated[int | None, typer.Option(help="Side of the cut-out square, pixels.")] = None,
    auxiliary: Annotated[
        bool | None, typer.Option("--auxiliary/--no-auxiliary", help="Auxiliary head.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="0: none.")] = None,
    ema_decay: Annotated[float | None, typer.Option(help="Averaging of weights; 0: none.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    data_root: options.DataRoot = None,
    seed: options.Seed = None,
    device: options.Device = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
    settings: options.Settings = None,
    run: options.Run = None,
    resume: options.Resume = False,
    json_output: options.Json = False,
) -> None:
    """Train the network that a genotype makes."""
    overrides = options.given(
        dataset=dataset,
        channels=channels,
        cells=cells,
        epochs=epochs,
        batch_size=batch_size,
        epoch_images=epoch_images,
        image_size=image_size,
        stem=stem,
        lr=lr,
        drop_path=drop_path,
        cutout=cutout,
        auxiliary=auxiliary,
        label_smoothing=label_smoothing,
        ema_decay=ema_decay,
        precision=precision,
        data_root=data_root,
        seed=seed,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        **options.parse_settings(settings),
    )
    out = console(json_output=json_output)
    value = start_training(out, preset, overrides, genotype, run, resume=resume)
    if json_output:
        print_json(value)


def start_training(
    out: Console,
    preset: str,
    overrides: dict[str, Any],
    name: str | None,
    path: Path | None,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Run a training, tell about it on `out`, and give its JSON summary."""
    from sdedge.cli.phases import new_run, open_dataset
    from sdedge.cli.progress import ConsoleReporter
    from sdedge.config import TrainConfig
    from sdedge.genotype import load_genotype
    from sdedge.run import RunDir
    from sdedge.train.phase import TrainPhase
    from sdedge.train.runner import run_training

    if resume:
        options.refuse_with_resume(options.given(**overrides, genotype=name))
        run = RunDir.open(path)
        config = TrainConfig.from_dict(run.settings("train"), source=str(run.config))
        phase = TrainPhase(config, load_genotype(run.genotype), open_dataset(config, out))
    else:
        config, genotype, path = _prepare(out, preset, overrides, name, path)
        phase = TrainPhase(config, genotype, open_dataset(config, out))
        run = new_run(path, "train", config.dataset)
    out.print(
        f"[bold]Train[/bold] on {config.dataset}: {config.cells} cells of {config.channels} "
        f"channels, {config.epochs} epochs, batch {config.batch_size}, seed {config.seed}"
    )
    out.print(f"[dim]run directory {run.path}[/dim]", soft_wrap=True)
    with ConsoleReporter(out) as reporter:
        result = run_training(phase, run, reporter, resume=resume)
    out.print(
        f"[bold]Trained[/bold] in {duration(result.seconds)}: test accuracy "
        f"{percent(result.test_accuracy)}, {result.counts.params:,} parameters, "
        f"{result.counts.macs / 1e6:,.1f} M multiply-accumulates an image"
    )
    out.print(f"  {run.weights}", soft_wrap=True)
    return {
        "run": str(run.path),
        "test_accuracy": result.test_accuracy,
        "params": result.counts.params,
        "macs": result.counts.macs,
        "epochs": len(result.records),
        "train_seconds": result.seconds,
    }


def _prepare(
    out: Console, preset: str, overrides: dict[str, Any], name: str | None, path: Path | None
) -> "tuple[TrainConfig, Genotype, Path | None]":
    """With a genotype named, a run of its own; else the run that a search made.

    The data are those of the search that found the genotype, where that is known.
    """
    from sdedge.cli.phases import resolve_preset
    from sdedge.config import TrainConfig
    from sdedge.genotype import load_genotype
    from sdedge.run import RunDir

    preset = resolve_preset(preset, overrides, out)
    if name is None:
        origin = RunDir.open(path)
        path = origin.path
        genotype = load_genotype(origin.made_by(origin.genotype, "sdedge search --resume"))
    else:
        origin = RunDir(Path(name))
        genotype = load_genotype(name)
    searched = origin.phases().get("search", {})
    inherited = {key: searched.get(key) for key in _INHERITED}
    return TrainConfig.from_preset(preset, {**inherited, **overrides}), genotype, path
