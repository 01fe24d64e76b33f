"""How the opening of a data set reads."""

from collections.abc import Mapping

from rich.console import Console

from sdedge.cli.output import shown
from sdedge.cli.render.progress import ConsoleReporter as ConsoleReporter  # that knows these events
from sdedge.cli.render.progress import render
from sdedge.pipeline.images import DatasetFound, DatasetOpened

_MAX_CLASSES = 12  # that are named


@render.register
def _(event: DatasetFound, console: Console) -> None:
    if event.source.counts:
        counts = _class_counts(event.source.counts)
        console.print(f"[dim]{shown(event.source.name)}: {counts}[/dim]")


@render.register
def _(event: DatasetOpened, console: Console) -> None:
    dataset = event.dataset
    console.print(
        f"[dim]{shown(dataset.name)}: {len(dataset.train.labels):,} training and "
        f"{len(dataset.test.labels):,} test images of {dataset.image_size} px, "
        f"{len(dataset.classes)} classes[/dim]"
    )


def _class_counts(counts: Mapping[str, tuple[int, int]]) -> str:
    """ "2 classes (training + test images): cat 40 + 10, dog 38 + 9"."""
    parts = [f"{shown(name)} {train:,} + {test:,}" for name, (train, test) in counts.items()]
    more = len(parts) - _MAX_CLASSES
    rest = f" and {more:,} more" if more > 0 else ""
    classes = ", ".join(parts[:_MAX_CLASSES])
    return f"{len(parts):,} classes (training + test images): {classes}{rest}"
