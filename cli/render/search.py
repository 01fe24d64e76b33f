"""How a search reads: its budget, its start, and the cell that it ends with."""

from rich.console import Console

from sdedge.cli.output import architecture_lines, shown
from sdedge.cli.render import images as images  # registers the events of its data set
from sdedge.cli.render.benchmark import show_cells
from sdedge.cli.render.figures import duration, limits_text, percent
from sdedge.cli.render.progress import ConsoleReporter as ConsoleReporter  # that knows these events
from sdedge.cli.render.progress import render
from sdedge.config import SearchConfig
from sdedge.counted import counted
from sdedge.operations import NAS_BENCH_201
from sdedge.pipeline.budget import BudgetPlanned, SizeChosen
from sdedge.pipeline.search import CellFound, CellsLookedUp, SearchStarted

_FAST_ALPHA = 6e-3  # of the preset for few steps


@render.register
def _(event: BudgetPlanned, console: Console) -> None:
    plan, requirements = event.plan, event.plan.requirements
    channels, cells = plan.reference
    error = max((costs.error for costs in plan.costs.values()), default=0.0)
    device = f" on {requirements.target.name}" if requirements.target else ""
    limits = limits_text({limit: costs.limit for limit, costs in plan.costs.items()})
    share = requirements.limits.confidence
    if "max_latency_ms" in plan.costs:
        end = f"upper end of the {share:.0%} interval" if share else "middle"
        limits += f"; latency is the {end} of the prediction"
    console.print(
        f"[bold]Budget[/bold] in {requirements.precision}{device}: "
        + (limits or "it leaves the cell free, and limits width and depth alone")
    )
    console.print(
        f"[dim]  alpha pays what operations cost in {cells} cells of {channels} channels (to "
        f"{error:.1%}); the network's own width and depth are chosen when the cell is there[/dim]"
    )


@render.register
def _(event: SizeChosen, console: Console) -> None:
    console.print(
        f"  width and depth for the budget: {event.cells} cells of {event.channels} "
        f"channels; {limits_text(event.found) or 'within the device'}"
    )


@render.register
def _(event: SearchStarted, console: Console) -> None:
    config = event.config
    mask = (
        f", patches of {config.patch_size} px, {config.mask_ratio:.0%} hidden"
        if config.task in ("semantic", "mim", "masked-classification")
        else ""
    )
    console.print(f"[bold]Search[/bold] on {shown(event.dataset)}, {event.origin}")
    console.print(
        f"  task {config.task}{mask}; strategy {config.strategy}; {config.cells} cells "
        f"{'a stage, from' if config.space == NAS_BENCH_201 else 'of'} {config.channels} "
        f"channels; {counted(config.epochs, 'epoch')}, batch {config.batch_size}, "
        f"seed {config.seed}"
    )
    console.print(f"[dim]  run directory {shown(event.run)}[/dim]")


@render.register
def _(event: CellFound, console: Console) -> None:
    result = event.outcome
    genotype, record = result.genotype, result.records[result.epoch]
    console.print(f"[bold]Found[/bold] in {duration(result.seconds)}")
    for line in architecture_lines(genotype.to_dict()):
        console.print(f"  {shown(line)}")
    if "valid_accuracy" in record:
        console.print(
            f"  supernet accuracy on the search half {percent(record['valid_accuracy'])} (best in "
            f"epoch {result.best_epoch}; the cell is of epoch {result.epoch + 1})"
        )
    if result.undecided and result.relative_entropy is not None:
        console.print(
            "[yellow]This search has not decided anything: the entropy of its mixing weights is "
            f"{result.relative_entropy:.2%} of that of uniform ones. No operation is clearly ahead "
            "of the others, and another seed may give another cell. "
            f"{_remedy(event.config)}[/yellow]"
        )
    if genotype.collapsed:
        console.print(
            f"[yellow]This cell has collapsed: {genotype.parameter_free_count} operations of its "
            "normal cell, more than half of them, learn nothing (skips, pools). A network of it "
            "will be weak. Search longer, with another seed, or take a published cell (sdedge "
            "genotype list).[/yellow]"
        )
    console.print(f"  {shown(event.run)}/genotype.json, cell.svg, cell.png")


@render.register
def _(event: CellsLookedUp, console: Console) -> None:
    benchmark = event.benchmark
    if "standings" in benchmark.cell:
        show_cells(console, [benchmark.cell], len(benchmark.table))
    else:
        console.print(f"[yellow]{shown(benchmark.table.source)} does not hold this cell[/yellow]")
    pictures = ", benchmark.svg, benchmark.png" if benchmark.drawn else ""
    console.print(f"  {shown(event.run)}/benchmark.json{pictures}")


def _remedy(config: SearchConfig) -> str:
    """What makes alpha move further."""
    resting = round(config.alpha_warmup * config.epochs)
    rate = f", a higher rate (--set alpha_lr={_FAST_ALPHA:g})"
    rest = f", an alpha_warmup below {config.alpha_warmup:g}"
    return (
        f"Alpha moved in {config.epochs - resting} of {counted(config.epochs, 'epoch')}, at a "
        f"rate of {config.alpha_lr:g}: take more --epochs or --epoch-images"
        f"{rate if config.alpha_lr < _FAST_ALPHA else ''}{rest if resting else ''}."
    )
