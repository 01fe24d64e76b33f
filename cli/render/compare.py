"""How a comparison reads: its plan, each trial, and the table."""

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render import images as images  # registers the events of its data sets
from sdedge.cli.render.figures import duration
from sdedge.cli.render.progress import ConsoleReporter as ConsoleReporter  # that knows these events
from sdedge.cli.render.progress import render
from sdedge.comparison.plan import FILE
from sdedge.comparison.recipes import get_recipe
from sdedge.comparison.summary import NOTES, PARTS, TITLES, undecided_searches
from sdedge.comparison.trial import protocol_deviations
from sdedge.config import SearchConfig
from sdedge.counted import counted
from sdedge.operations import NAS_BENCH_201
from sdedge.pipeline.compare import Compared
from sdedge.pipeline.trials import CompareStarted, TrialFailed, TrialStarted


@render.register
def _(event: CompareStarted, console: Console) -> None:
    plan, config = event.plan, event.config
    console.print(
        f"[bold]Compare[/bold] {', '.join(shown(method.label) for method in plan.methods)}; "
        f"seeds {', '.join(map(str, plan.seeds))}"
    )
    console.print(
        f"  space {config.space} on {shown(config.dataset)}, preset {plan.preset}; "
        f"{config.cells} cells{' a stage' if config.space == NAS_BENCH_201 else ''} of "
        f"{config.channels} channels; {shown(event.label)}: {counted(config.epochs, 'epoch')}, "
        f"batch {config.batch_size}"
    )
    console.print(f"[dim]  folder {shown(event.run)}; {event.trials_left} trials to do[/dim]")
    if plan.recipe:
        recipe = get_recipe(plan.recipe)
        console.print(f"[bold]{recipe.name}[/bold] of the paper: {shown(recipe.summary)}")
        for line in protocol_deviations(plan, recipe):
            console.print(f"  {shown(line)}")
        if recipe.left_out:
            console.print(f"  never repeated here: {shown(recipe.left_out)}")
    if config.space == NAS_BENCH_201 and config.benchmark_table is None:
        console.print(
            "[yellow]No --benchmark-table: what the cells reach stays unknown, until it is given "
            "with --resume.[/yellow]"
        )


@render.register
def _(event: TrialStarted, console: Console) -> None:
    left = event.remaining_seconds
    remaining = f"; about {duration(left)} to go" if left is not None else ""
    console.print(
        f"[bold]{event.number} of {event.count}[/bold]: {shown(event.label)}, seed "
        f"{event.seed}{remaining}"
    )


@render.register
def _(event: TrialFailed, console: Console) -> None:
    console.print(f"[red]failed: {shown(event.error)}[/red]")


@render.register
def _(event: Compared, console: Console) -> None:
    result = event.result
    reference, recipe = result.reference, result.recipe
    for title, columns in PARTS.items():
        part = result.table(columns)
        if len(part.columns) > 2:
            console.print(table(title, part.columns, part.rows), soft_wrap=False)
    for line in (*NOTES, *(reference.lines if reference else ())):
        console.print(f"[dim]{shown(line)}[/dim]")
    if reference:
        dataset = result.plan.settings.get("dataset", SearchConfig.dataset)
        console.print(
            f"[yellow]{', '.join(TITLES.values())} are the table's: what its authors reached when "
            "they trained the cells on CIFAR-10, CIFAR-100 and ImageNet16-120. None of them is an "
            f"accuracy on the images of {shown(dataset)}, on which the cells were searched."
            "[/yellow]"
        )
    for label, undecided, seeds in undecided_searches(result.rows):
        console.print(
            f"[yellow]{shown(label)}: {undecided} of {seeds} searches have not decided anything "
            "(mixing weights within 1% of uniform); another seed may give another cell[/yellow]"
        )
    if recipe:
        count = len(result.deviations)
        console.print(f"[dim]departures from {recipe.name} of the paper: {count}[/dim]")
    console.print(
        f"  {shown(result.run)}/{FILE}, comparison.svg, comparison.png"
        + (", epochs.svg, epochs.png" if reference and reference.epochs else "")
    )
