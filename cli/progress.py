"""Progress of a search or a training on the terminal."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from sdedge.cli.output import architecture_lines, duration, mebibytes, percent, shown
from sdedge.counted import counted
from sdedge.loop import Estimate
from sdedge.loop import Progress as PhaseProgress

# Reading a loss waits for the device, so it is read this often at most.
_REFRESH_SECONDS = 0.5


class ConsoleReporter:
    """A progress bar with ETA and loss on a terminal, and a line an epoch everywhere."""

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
        self._task: TaskID | None = None
        self._refreshed = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def estimated(self, estimate: Estimate) -> None:
        """Say what the rest will cost."""
        self._console.print(
            f"[dim]about {duration(estimate.remaining_seconds)} to go: "
            f"{estimate.step_seconds:.2f} s a step on {estimate.device}, "
            f"{counted(estimate.epochs, 'epoch')} of {counted(estimate.steps, 'step')}; "
            f"{mebibytes(estimate.peak_memory_bytes)} of memory so far[/dim]"
        )

    def stepped(self, progress: PhaseProgress) -> None:
        """Move the bar."""
        if self._bar.disable or (
            time.monotonic() - self._refreshed < _REFRESH_SECONDS and progress.step < progress.steps
        ):
            return
        self._refreshed = time.monotonic()
        if self._task is None:
            self._task = self._bar.add_task("", status="")
        means = progress.means()
        left = progress.remaining_seconds
        status = [f"loss {means['loss']:.3f}"]
        if "accuracy" in means:
            status.append(f"accuracy {percent(means['accuracy'])}")
        status.append(f"{duration(left)} left" if left is not None else "measuring")
        self._bar.update(
            self._task,
            description=f"{progress.phase} epoch {progress.epoch + 1}/{progress.epochs}",
            completed=progress.step,
            total=progress.steps,
            status="  ".join(status),
        )

    def epoch_ended(self, record: Mapping[str, Any]) -> None:
        """One line an epoch, and in a search the cell as it stands."""
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
        self._console.print("  ".join(line))
        if "genotype" in record:
            found = architecture_lines(record["genotype"])[0].split(maxsplit=1)[1]
            self._console.print(f"[dim]           {shown(found)}[/dim]")

    def stopping(self) -> None:
        """A stop was asked for."""
        self._console.print("[yellow]stopping after this step; again to stop at once[/yellow]")
