"""A comparison as it runs, and what it came to."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sdedge.analysis.comparison import draw_comparison
from sdedge.analysis.trajectories import draw_trajectories
from sdedge.cli.output import duration, shown, table
from sdedge.cli.phases import open_dataset
from sdedge.cli.progress import ConsoleReporter
from sdedge.compare.method import Method
from sdedge.compare.plan import FILE, Plan
from sdedge.compare.recipes import Recipe, get_recipe
from sdedge.compare.standings import Reference, look_up_trials
from sdedge.compare.summary import NOTES, PARTS, TITLES, Table, summarise, undecided_searches
from sdedge.compare.trial import RECORD, OpenDataset, cuts, place, run_trial, trial_config
from sdedge.config import PhaseConfig, SearchConfig
from sdedge.counted import counted
from sdedge.errors import InterruptedRunError, RunError, SdedgeError
from sdedge.files import write_json

if TYPE_CHECKING:
    from sdedge.data.dataset import Dataset
    from sdedge.space.nasbench201.benchmark_table import BenchmarkTable

Trial = tuple[Method, int, Path]


class _Reporter(ConsoleReporter):
    """Remembers a stop that was asked for when a search had nothing left to do."""

    stopped = False

    def stopping(self) -> None:
        self.stopped = True
        super().stopping()


def run_trials(
    out: Console, plan: Plan, folder: Path, opened: OpenDataset
) -> tuple[list[dict[str, Any]], SdedgeError | None]:
    """Run what is left of a comparison; give the records of what is done, and what went wrong.

    A trial that fails is told and left out. What went wrong is an InterruptedRunError for a stop
    that was asked for, a RunError for trials that failed.
    """
    trials = [(method, seed, place(folder, method, seed)) for method, seed in plan.trials]
    left = [trial for trial in trials if not _done(trial)]
    _announce(out, plan, folder, len(left))
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    started, count = time.monotonic(), len(left)
    for trial in trials:
        if trial in left:
            _announce_trial(out, trial, count - len(left), count, time.monotonic() - started)
            left.remove(trial)
        method, seed, path = trial
        with _Reporter(out) as reporter:
            try:
                rows.append(run_trial(plan, method, seed, path, opened, reporter))
            except InterruptedRunError:
                reporter.stopped = True
            except RunError as error:
                failed.append(f"{method.label}, seed {seed}")
                out.print(f"[red]failed: {shown(error)}[/red]")
        if reporter.stopped and not all(map(_done, trials)):
            return rows, InterruptedRunError(
                f"stopped and saved; go on with: sdedge compare --resume --run {folder}"
            )
    message = f"{len(failed)} of {len(trials)} trials failed: {'; '.join(failed)}"
    return rows, RunError(message) if failed else None


def _done(trial: Trial) -> bool:
    return (trial[2] / RECORD).exists()


def _announce(out: Console, plan: Plan, folder: Path, left: int) -> None:
    first = next((method for method in plan.methods if not method.random), plan.methods[0])
    config = trial_config(plan, first, plan.seeds[0])
    out.print(
        f"[bold]Compare[/bold] {', '.join(shown(method.label) for method in plan.methods)}; "
        f"seeds {', '.join(map(str, plan.seeds))}"
    )
    out.print(
        f"  space {config.space} on {shown(config.dataset)}, preset {plan.preset}; "
        f"{config.cells} cells{' a stage' if config.space == 'nas-bench-201' else ''} of "
        f"{config.channels} channels; {shown(first.label)}: {counted(config.epochs, 'epoch')}, "
        f"batch {config.batch_size}"
    )
    out.print(f"[dim]  folder {shown(folder)}; {left} trials to do[/dim]")
    if plan.recipe:
        _tell_cuts(out, plan, get_recipe(plan.recipe))
    if config.space == "nas-bench-201" and config.benchmark_table is None:
        out.print(
            "[yellow]No --benchmark-table: what the cells reach stays unknown, until it is given "
            "with --resume.[/yellow]"
        )


def _announce_trial(out: Console, trial: Trial, done: int, count: int, seconds: float) -> None:
    method, seed, _ = trial
    remaining = f"; about {duration(seconds / done * (count - done))} to go" if done else ""
    out.print(f"[bold]{done + 1} of {count}[/bold]: {shown(method.label)}, seed {seed}{remaining}")


def opener(out: Console) -> OpenDataset:
    """Opens each data set once."""
    opened: dict[tuple[object, ...], Dataset] = {}

    def dataset(config: PhaseConfig) -> "Dataset":
        key = (config.dataset, config.data_root, config.stored_size, config.data_seed)
        if key not in opened:
            opened[key] = open_dataset(config, out)
        return opened[key]

    return dataset


def report(
    out: Console,
    plan: Plan,
    folder: Path,
    rows: list[dict[str, Any]],
    known: "BenchmarkTable | None",
) -> tuple[Table, dict[str, Any]]:
    """Write, draw and print the table of what is done; gives it, and what was written."""
    reference = look_up_trials(folder, rows, known) if known else None
    recipe = get_recipe(plan.recipe) if plan.recipe else None
    papers = recipe.published if recipe else {}
    departures = cuts(plan, recipe) if recipe else []
    value = {
        "plan": plan.to_dict(),
        "departures": departures,
        "rows": rows,
        **(reference.to_dict() if reference else {}),
    }
    write_json(folder / FILE, value)
    _draw(plan, folder, rows, reference)
    for title, columns in PARTS.items():
        part = summarise(plan, rows, papers, columns)
        if len(part.columns) > 2:
            out.print(table(title, part.columns, part.rows), soft_wrap=False)
    for line in (*NOTES, *(reference.lines if reference else ())):
        out.print(f"[dim]{shown(line)}[/dim]")
    if reference:
        dataset = plan.settings.get("dataset", SearchConfig.dataset)
        out.print(
            f"[yellow]{', '.join(TITLES.values())} are the table's: what its authors reached when "
            "they trained the cells on CIFAR-10, CIFAR-100 and ImageNet16-120. None of them is an "
            f"accuracy on the images of {shown(dataset)}, on which the cells were searched."
            "[/yellow]"
        )
    for label, undecided, seeds in undecided_searches(rows):
        out.print(
            f"[yellow]{shown(label)}: {undecided} of {seeds} searches have not decided anything "
            "(mixing weights within 1% of uniform); another seed may give another cell[/yellow]"
        )
    if recipe:
        out.print(f"[dim]departures from {recipe.name} of the paper: {len(departures)}[/dim]")
    out.print(
        f"  {shown(folder)}/{FILE}, comparison.svg, comparison.png"
        + (", epochs.svg, epochs.png" if reference and reference.epochs else "")
    )
    return summarise(plan, rows, papers), value


def _draw(plan: Plan, folder: Path, rows: list[dict[str, Any]], known: Reference | None) -> None:
    methods = [method.label for method in plan.methods]
    best = {TITLES[name]: accuracy for name, accuracy in known.best.items()} if known else {}
    for suffix in ("svg", "png"):
        draw_comparison(methods, rows, best, folder / f"comparison.{suffix}")
        if known and known.epochs:
            draw_trajectories(known.epochs, known.best, folder / f"epochs.{suffix}")


def _tell_cuts(out: Console, plan: Plan, recipe: Recipe) -> None:
    """Say in which settings this comparison is not the published one."""
    out.print(f"[bold]{recipe.name}[/bold] of the paper: {shown(recipe.summary)}")
    for line in cuts(plan, recipe):
        out.print(f"  {shown(line)}")
    if recipe.left_out:
        out.print(f"  never repeated here: {shown(recipe.left_out)}")
