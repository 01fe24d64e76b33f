"""What the commands on a run share: presets, run directories, opening data and networks."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress

from sdedge.cli import options
from sdedge.cli.output import shown
from sdedge.config import PhaseConfig, SearchConfig, TrainConfig
from sdedge.data.catalog import DATASETS, Dataset, load_dataset
from sdedge.data.provenance import check_unseen, read_images
from sdedge.data.source import Source
from sdedge.device import select_device
from sdedge.errors import ExportError, RunError
from sdedge.lock import lock_if_there
from sdedge.names import find_name
from sdedge.paths import checked_path
from sdedge.run import RunDir, refuse_foreign
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription, load_network

C = TypeVar("C", bound=PhaseConfig)
MAY_MOVE = ("dataset", "data_root")  # settings of a run that may change while it rests
_MAX_CLASSES = 12  # that are named

AUTO_NOTES = {
    "paper": "chosen for the GPU",
    "quick": "chosen for the CPU, where the paper's protocol takes days; --preset paper runs it",
}


def resolve_preset(preset: str, overrides: Mapping[str, Any]) -> str:
    """The preset as it is spelled; `auto` is `paper` on a GPU and `quick` on a CPU."""
    if find_name(preset, ("auto",)) is None:
        return find_name(preset, (*SearchConfig.presets(), *TrainConfig.presets())) or preset
    device = select_device(str(overrides.get("device", "auto")))
    return "paper" if device.type == "cuda" else "quick"


def preset_text(asked: str, preset: str) -> str:
    """The preset, and why it was taken where the user left that open."""
    return f"preset {preset}" + (f" ({AUTO_NOTES[preset]})" if find_name(asked, ("auto",)) else "")


def absolute(path: str) -> str:
    """A path that means the same from any folder."""
    return str(checked_path(path).absolute())


def with_absolute_paths(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A run is gone on with from any folder, so it keeps folders by their absolute paths."""
    fixed = {"data_root": "data", **overrides}
    for name in ("data_root", "benchmark_table"):
        if isinstance(path := fixed.get(name), str):  # the config refuses anything else
            fixed[name] = absolute(path)
    if isinstance(dataset := fixed.get("dataset"), str):
        folder = dataset not in DATASETS and checked_path(dataset).is_dir()
        fixed["dataset"] = absolute(dataset) if folder else find_name(dataset, DATASETS) or dataset
    return fixed


def take_folder(
    held: ExitStack, path: Path | None, phase: str, *, beside: tuple[str, ...] = ()
) -> None:
    """Lock `path` for a new `phase`, until `held` ends; a folder that is not there yet is passed.

    Raises RunError when another process is at work there, or it holds what the phase would change.
    `beside` names the phases that the new one goes on from.
    """
    if path is None:
        return
    refuse_foreign(path)
    held.enter_context(lock_if_there(path))
    phases = RunDir(path).phases()
    if phase in phases:
        raise RunError(
            f"{path} holds a {phase} already; go on with it: sdedge {phase} --resume --run {path}"
            + (f"; or start anew: sdedge train --genotype {path}" if phase == "train" else "")
        )
    if others := sorted(phases.keys() - set(beside)):
        raise RunError(
            f"{path} holds a {others[0]}, whose cell a new {phase} would replace; "
            "choose another folder with --run"
        )


def open_dataset(config: PhaseConfig, out: Console, stored_size: int | None = None) -> Dataset:
    """The data set that `config` names; its classes are told before anything is decoded.

    `stored_size` is the side of its images where `config` leaves that open.
    """
    told: tuple[str, ...] = ()

    def tell(source: Source) -> None:
        nonlocal told
        told = source.notes
        if source.counts:
            out.print(f"[dim]{shown(source.name)}: {_class_counts(source.counts)}[/dim]")
        for note in told:
            out.print(f"[yellow]{shown(note)}[/yellow]")

    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("opening images", total=None)
        dataset = load_dataset(
            config.dataset,
            Path(config.data_root),
            config.stored_size or stored_size,
            config.data_seed,
            lambda done, total: bar.update(task, completed=done, total=total),
            tell,
        )
    for note in dataset.notes[len(told) :]:  # what decoding showed
        out.print(f"[yellow]{shown(note)}[/yellow]")
    out.print(
        f"[dim]{shown(dataset.name)}: {len(dataset.train.labels):,} training and "
        f"{len(dataset.test.labels):,} test images of {dataset.image_size} px, "
        f"{len(dataset.classes)} classes[/dim]"
    )
    return dataset


def _class_counts(counts: Mapping[str, tuple[int, int]]) -> str:
    """ "2 classes (training + test images): cat 40 + 10, dog 38 + 9"."""
    parts = [f"{shown(name)} {train:,} + {test:,}" for name, (train, test) in counts.items()]
    more = len(parts) - _MAX_CLASSES
    rest = f" and {more:,} more" if more > 0 else ""
    classes = ", ".join(parts[:_MAX_CLASSES])
    return f"{len(parts):,} classes (training + test images): {classes}{rest}"


def moved_settings(overrides: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Where the images of a run that goes on are now; all that may come with --resume.

    Raises ConfigError for other settings among `overrides`, and for options named in `others`.
    """
    moved = {name: value for name, value in overrides.items() if name in MAY_MOVE}
    options.refuse_with_resume([*(name for name in overrides if name not in moved), *others])
    fixed = with_absolute_paths(moved)
    return {name: fixed[name] for name in moved}


def resumed_config(run: RunDir, phase: str, kind: type[C], moved: Mapping[str, Any]) -> C:
    """The settings of a phase that goes on, whose images may have moved."""
    config = kind.from_dict(run.settings(phase), source=str(run.config))
    return replace(config, **moved)


def open_training_data(
    out: Console, run: RunDir, dataset: str | None = None, data_root: str | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    """The images that the network of a run was trained on, which may have moved.

    With them what is to be told of the test images, where the data set has changed. Raises
    DataError where test images were trained on.
    """
    config = TrainConfig.from_dict(run.settings("train"), source=str(run.config))
    config = replace(
        config, dataset=dataset or config.dataset, data_root=data_root or config.data_root
    )
    record = read_images(run.images("train"))
    data = open_dataset(config, out, record.image_size if record else None)
    notes = check_unseen(record, data)
    for note in notes:
        out.print(f"[yellow]{shown(note)}[/yellow]")
    return data, notes


def open_trained(
    out: Console, run: RunDir, dataset: str | None = None, data_root: str | None = None
) -> tuple[Network, NetworkDescription, Dataset, tuple[str, ...]]:
    """The trained network of a run, and what `open_training_data` gives."""
    network, description = load_network(run.require(run.weights, "train"))
    data, notes = open_training_data(out, run, dataset, data_root)
    if data.classes != description.classes:
        raise ExportError(
            f"{data.name} has the classes {', '.join(data.classes)}, but the network was trained "
            f"on {', '.join(description.classes)}; give the set it was trained on with --dataset"
        )
    return network, description, data, notes
