"""What `search` and `train` share: presets, run directories, opening the data."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from sdedge.config import PhaseConfig
from sdedge.data.catalog import Dataset, load_dataset
from sdedge.device import select_device
from sdedge.errors import RunError
from sdedge.run import RunDir


def resolve_preset(preset: str, overrides: dict[str, Any], out: Console) -> str:
    """`auto` as `paper` on a GPU and `quick` on a CPU, said aloud."""
    if preset != "auto":
        return preset
    if select_device(overrides.get("device", "auto")).type == "cuda":
        out.print("[dim]preset paper, chosen for the GPU[/dim]")
        return "paper"
    out.print(
        "[dim]preset quick, chosen for the CPU, where the paper's protocol takes days "
        "(--preset paper runs it all the same)[/dim]"
    )
    return "quick"


def new_run(path: Path | None, phase: str, name: str) -> RunDir:
    """A new run directory, or `path` if it holds no such phase yet; else RunError."""
    run = RunDir.create(Path(name).name, path)
    if phase in run.phases():
        another = f"--genotype {run.path}" if phase == "train" else "another --run"
        raise RunError(
            f"{run.path} holds a {phase} already: --resume goes on with it, {another} starts anew"
        )
    return run


def open_dataset(config: PhaseConfig, out: Console) -> Dataset:
    """The data set that `config` names, with a progress bar while it is decoded."""
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("decoding images", total=None)
        dataset = load_dataset(
            config.dataset,
            Path(config.data_root),
            config.stored_size,
            config.data_seed,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for note in dataset.notes:
        out.print(f"[yellow]{note}[/yellow]")
    out.print(
        f"[dim]{dataset.name}: {len(dataset.train.labels):,} training and "
        f"{len(dataset.test.labels):,} test images of {dataset.image_size} px, "
        f"{len(dataset.classes)} classes[/dim]"
    )
    return dataset
