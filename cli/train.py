"""sdedge train"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import accuracy_on, console, duration, guarded, percent, print_json, shown
from sdedge.config import SearchConfig, TrainConfig
from sdedge.counted import counted
from sdedge.proportion import interval

if TYPE_CHECKING:
    from sdedge.data.dataset import Dataset
    from sdedge.genotype import Genotype
    from sdedge.run import RunDir

# What a training takes over from the search in the same run directory.
_INHERITED = ("dataset", "data_root", "data_seed", "image_size", "seed")


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
    with ExitStack() as held:
        return _start(out, preset, overrides, name, path, held, resume=resume)


def _start(
    out: Console,
    preset: str,
    overrides: dict[str, Any],
    name: str | None,
    path: Path | None,
    held: ExitStack,  # takes the lock of the run directory
    *,
    resume: bool,
) -> dict[str, Any]:
    from sdedge.cli.budget import carry_budget
    from sdedge.cli.phases import moved_settings, open_dataset, resumed_config
    from sdedge.cli.progress import ConsoleReporter
    from sdedge.data.provenance import read_images, searched_on
    from sdedge.genotype import load_genotype
    from sdedge.run import RunDir
    from sdedge.train.phase import TrainPhase
    from sdedge.train.runner import run_training

    if resume:
        moved = moved_settings(overrides, *(["genotype"] if name else []))
        run = RunDir.open(path)
        held.enter_context(run.lock())
        config = resumed_config(run, "train", TrainConfig, moved)
        started = "resumed"
        data = open_dataset(config, out)
        phase = TrainPhase(config, load_genotype(run.genotype), data)
    else:
        config, genotype, path, started = _prepare(out, preset, overrides, name, path, held)
        data = open_dataset(config, out)
        searched = (RunDir(path) if path else None) if name is None else _named_run(name)
        if searched and (record := read_images(searched.images("search"))):
            for note in searched_on(record, data):
                out.print(f"[yellow]{shown(note)}[/yellow]")
        phase = TrainPhase(config, genotype, data)
        run = RunDir.create(data.name, path)
        _take_folder(held, run.path, name)  # another may have made it meanwhile
        if origin := _named_run(name):
            carry_budget(origin, run)
    out.print(f"[bold]Train[/bold] on {shown(data.name)}, {started}")
    out.print(
        f"  {config.cells} cells of {config.channels} channels; {counted(config.epochs, 'epoch')}, "
        f"batch {config.batch_size}, seed {config.seed}"
    )
    out.print(f"[dim]  run directory {shown(run.path)}[/dim]")
    with ConsoleReporter(out) as reporter:
        result = run_training(phase, run, reporter, resume=resume)
    out.print(
        f"[bold]Trained[/bold] in {duration(result.seconds)}: test accuracy "
        f"{accuracy_on(result.test_accuracy, len(data.test.labels))}, "
        f"{result.counts.params:,} parameters, "
        f"{result.counts.macs / 1e6:,.1f} M multiply-accumulates an image"
    )
    _report_baseline(out, result.test_accuracy, data)
    out.print(f"  {shown(run.weights)}")
    return {
        "run": str(run.path),
        "test_accuracy": result.test_accuracy,
        "test_images": len(data.test.labels),
        "params": result.counts.params,
        "macs": result.counts.macs,
        "epochs": len(result.records),
        "train_seconds": result.seconds,
    }


def _report_baseline(out: Console, accuracy: float, data: "Dataset") -> None:
    """Say where a network is no better than one that always gives the same answer."""
    counts = [int((data.test.labels == label).sum()) for label in range(len(data.classes))]
    most = max(counts)
    baseline = most / sum(counts)
    if interval(accuracy, sum(counts))[0] <= baseline:
        out.print(
            f"[yellow]No better, as far as {sum(counts):,} test images tell, than always answering "
            f"{shown(data.classes[counts.index(most)])}: {percent(baseline)}.[/yellow]"
        )


def _prepare(
    out: Console,
    preset: str,
    overrides: dict[str, Any],
    name: str | None,
    path: Path | None,
    held: ExitStack,
) -> "tuple[TrainConfig, Genotype, Path | None, str]":
    """Settings, genotype, run directory (None: a new one) and a word on the preset.

    With a genotype named, the run is one of its own; else it is the one that a search made. The
    data are those of the search that found the genotype, where that is known, and so are width and
    depth if it had a budget.
    """
    from sdedge.cli.budget import budgeted_size
    from sdedge.cli.phases import preset_text, resolve_preset, with_absolute_paths
    from sdedge.genotype import load_genotype
    from sdedge.run import RunDir
    from sdedge.train.phase import check_training

    if name is None:
        opened = RunDir.open(path)
        origin: RunDir | None = opened
        path = opened.path
        genotype = load_genotype(opened.require(opened.genotype, "search"))
    else:
        origin = _named_run(name)
        genotype = load_genotype(name)
    _take_folder(held, path, name)
    chosen = resolve_preset(preset, overrides)
    inherited = _inherited(origin) if origin else {}
    own = TrainConfig.presets().get(chosen, {})
    if "image_size" in own:  # a recipe for a size of its own
        inherited.pop("image_size", None)
    if origin:
        inherited |= budgeted_size(out, origin, overrides, own)
    config = TrainConfig.from_preset(chosen, with_absolute_paths({**inherited, **overrides}))
    check_training(config)
    return config, genotype, path, preset_text(preset, chosen)


def _take_folder(held: ExitStack, path: Path | None, name: str | None) -> None:
    """Lock `path` for a training of the genotype `name` (None: of its search)."""
    from sdedge.cli.phases import take_folder

    take_folder(held, path, "train", beside=() if name else ("search",))


def _named_run(name: str | None) -> "RunDir | None":
    from sdedge.genotype import named_run
    from sdedge.run import RunDir

    path = named_run(name) if name is not None else None
    return RunDir(path) if path else None


def _inherited(origin: "RunDir") -> dict[str, Any]:
    """Settings of the search that found the genotype, where it is known."""
    settings = origin.phases().get("search")
    if settings is None:
        return {}
    searched = SearchConfig.from_dict(settings, source=str(origin.config)).to_dict()
    return {name: searched[name] for name in _INHERITED if searched[name] is not None}
