"""Events on the terminal: progress bars with an ETA, and a line for whatever is worth one.

How an event reads is registered with `render`, in the module of the link that reports it.
"""

import time
from functools import singledispatch
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from sdedge.cli.output import architecture_lines, shown
from sdedge.cli.render.figures import duration, limit_amount, mebibytes, percent
from sdedge.config import LIMIT_NAMES
from sdedge.counted import counted
from sdedge.events import Event, Notice, Progressed
from sdedge.loop.events import EpochEnded, Estimated, Stepped, Stopping

# Reading a loss waits for the device, so it is read this often at most.
_REFRESH_SECONDS = 0.5


@singledispatch
def render(event: Event, console: Console) -> None:
    """Print an event; one that nothing is registered for is not shown."""


class ConsoleReporter:
    """The reporter of the commands; a context manager, so that no bar stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._refreshed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Progressed(what, done, total):
                self._move(what, what, done, total)
            case Stepped():
                self._step(event)
            case _:
                render(event, self._console)

    def _step(self, event: Stepped) -> None:
        last = event.step == event.steps
        if self._bar.disable or (
            time.monotonic() - self._refreshed < _REFRESH_SECONDS and not last
        ):
            return
        self._refreshed = time.monotonic()
        means = event.means()
        left = event.remaining_seconds
        status = [f"loss {means['loss']:.3f}"]
        if "accuracy" in means:
            status.append(f"accuracy {percent(means['accuracy'])}")
        status.append(f"{duration(left)} left" if left is not None else "measuring")
        title = f"{event.phase} epoch {event.epoch + 1}/{event.epochs}"
        self._move(event.phase, title, event.step, event.steps, "  ".join(status))

    def _move(self, key: str, title: str, done: int, total: int | None, status: str = "") -> None:
        """Move the bar of a kind of work; one that is complete goes away."""
        if not self._tasks:
            self._bar.start()
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task(title, total=total, status=status)
        task = self._tasks[key]
        self._bar.update(task, description=title, completed=done, total=total, status=status)
        if total is not None and done >= total and not status:
            self._bar.remove_task(self._tasks.pop(key))
        if not self._tasks:
            self._bar.stop()  # redrawing nothing would take time from what is measured


@render.register
def _(event: Notice, console: Console) -> None:
    style = "yellow" if event.warning else "dim"
    console.print(f"[{style}]{shown(event.text)}[/{style}]")


@render.register
def _(event: Stopping, console: Console) -> None:
    console.print("[yellow]stopping after this step; again to stop at once[/yellow]")


@render.register
def _(event: Estimated, console: Console) -> None:
    console.print(
        f"[dim]about {duration(event.remaining_seconds)} to go: "
        f"{event.step_seconds:.2f} s a step on {event.device}, "
        f"{counted(event.epochs, 'epoch')} of {counted(event.steps, 'step')}; "
        f"{mebibytes(event.peak_memory_bytes)} of memory so far[/dim]"
    )


@render.register
def _(event: EpochEnded, console: Console) -> None:
    """One line an epoch, and in a search the cell as it stands and what it costs."""
    record = event.record
    line = [f"epoch {record['epoch']:3d}", f"loss {record['train_loss']:.3f}"]
    for key, label in (
        ("train_accuracy", "train"),
        ("valid_accuracy", "valid"),
        ("test_accuracy", "test"),
    ):
        if key in record:
            line.append(f"{label} {percent(record[key])}")
    if "genotype" in record:
        line.append(f"skips {record['skip_count']}")
        entropies = (v for name, v in record.items() if name.startswith("alpha_entropy_"))
        line.append(f"entropy {abs(next(entropies)):.3f}")
    line.append(duration(record["elapsed_s"]))
    console.print("  ".join(line))
    if "genotype" in record:
        cell = architecture_lines(record["genotype"])[0].split(maxsplit=1)[1]
        console.print(f"[dim]           {shown(cell)}[/dim]")
    for limit, figures in record.get("budget", {}).items():
        derived, expected, allowed = (
            limit_amount(limit, figures[name]) for name in ("derived", "expected", "limit")
        )
        console.print(
            f"[dim]           {LIMIT_NAMES[limit]}: this cell {derived} of {allowed}, expected "
            f"{expected}; weight {figures['multiplier']:.2f}[/dim]"
        )
