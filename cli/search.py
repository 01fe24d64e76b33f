"""sdedge search"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import (
    architecture_lines,
    console,
    duration,
    guarded,
    percent,
    print_json,
    shown,
)
from sdedge.config import SearchConfig
from sdedge.counted import counted
from sdedge.genotype import Genotype

if TYPE_CHECKING:
    from sdedge.search.runner import SearchResult


@guarded
@options.from_config(SearchConfig)
def search(
    *,
    preset: Annotated[
        str, typer.Option(help="paper, quick, demo; auto is paper on a GPU, quick on a CPU.")
    ] = "auto",
    overrides: dict[str, Any],
    run: options.NewRun = None,
    resume: options.Resume = False,
    json_output: options.Json = False,
) -> None:
    """Search a cell: DARTS guided by masked image modelling (Semantic-DARTS).

    With a target or limits, the cell and the size of its network are chosen to fit them.
    """
    out = console(json_output=json_output)
    value = start_search(out, preset, overrides, run, resume=resume)
    if json_output:
        print_json(value)


def start_search(
    out: Console, preset: str, overrides: dict[str, Any], path: Path | None, *, resume: bool
) -> dict[str, Any]:
    """Run a search, tell about it on `out`, and give its JSON summary."""
    with ExitStack() as held:
        return _start(out, preset, overrides, path, held, resume=resume)


def _start(
    out: Console,
    preset: str,
    overrides: dict[str, Any],
    path: Path | None,
    held: ExitStack,  # takes the lock of the run directory
    *,
    resume: bool,
) -> dict[str, Any]:
    from sdedge.analysis.drawing import draw_architecture
    from sdedge.cli.budget import (
        BudgetReporter,
        budget_file,
        choose_size,
        known_problem,
        plan_budget,
        planned_costs,
    )
    from sdedge.cli.nasbench import known_cells, report_epochs
    from sdedge.cli.phases import (
        absolute,
        moved_settings,
        open_dataset,
        preset_text,
        resolve_preset,
        resumed_config,
        take_folder,
        with_absolute_paths,
    )
    from sdedge.cli.progress import ConsoleReporter
    from sdedge.files import write_json
    from sdedge.run import RunDir
    from sdedge.search.phase import check_search
    from sdedge.search.runner import run_search
    from sdedge.search.stages import build_search
    from sdedge.search.strategies import get_strategy
    from sdedge.search.tasks import task_name

    if resume:
        table = overrides.pop("benchmark_table", None)  # may come later
        moved = moved_settings(overrides)
        run = RunDir.open(path)
        held.enter_context(run.lock())
        config = resumed_config(run, "search", SearchConfig, moved)
        if table:
            config = replace(config, benchmark_table=absolute(table))
        started = "resumed"
        data = open_dataset(config, out)
        known = known_cells(config.benchmark_table)
        phase = build_search(config, data, planned_costs(run) if config.budgeted else None)
    else:
        chosen = resolve_preset(preset, overrides)
        strategy = get_strategy(overrides.get("strategy", SearchConfig.strategy))
        task = task_name(overrides.get("task", SearchConfig.task))
        overrides = {**with_absolute_paths(overrides), "strategy": strategy.name, "task": task}
        config = SearchConfig.from_preset(chosen, overrides, strategy.settings)
        check_search(config)
        take_folder(held, path, "search")
        known = known_cells(config.benchmark_table)
        started = preset_text(preset, chosen)
        problem = known_problem(config)
        plan = plan_budget(out, config, *problem) if problem else None
        data = open_dataset(config, out)
        if not problem:
            plan = plan_budget(out, config, len(data.classes), data.image_size)
        phase = build_search(config, data, plan.costs if plan else None)
        run = RunDir.create(data.name, path)
        take_folder(held, run.path, "search")  # another may have made it meanwhile
        if plan:
            write_json(budget_file(run), plan.to_dict())
    _announce(out, config, data.name, started, run.path)
    with (BudgetReporter if config.budgeted else ConsoleReporter)(out) as reporter:
        result = run_search(phase, run, reporter, resume=resume)
    for suffix in ("svg", "png"):
        draw_architecture(
            result.genotype,
            run.cell_drawing(suffix),
            title=f"{config.strategy}, {config.task} task, on {data.name}",
        )
    _report(out, result, config, run.path)
    found, found_at = result.genotype, result.records[result.epoch]
    size = choose_size(out, run, found) if config.budgeted and isinstance(found, Genotype) else None
    benchmark = report_epochs(out, run, result, known) if known else None
    return {
        "run": str(run.path),
        "genotype": result.genotype.to_dict(),
        "collapsed": result.genotype.collapsed,
        "undecided": result.undecided,
        "alpha_relative_entropy": result.relative_entropy,
        "epochs": len(result.records),
        "best_epoch": result.best_epoch,
        "search_seconds": result.seconds,
        **({"size": size} if config.budgeted else {}),
        **({"benchmark": benchmark} if benchmark else {}),
        **{k: v for k, v in found_at.items() if k.startswith(("train_", "valid_"))},
    }


def _announce(out: Console, config: SearchConfig, name: str, started: str, path: Path) -> None:
    mask = (
        f", patches of {config.patch_size} px, {config.mask_ratio:.0%} hidden"
        if config.task in ("semantic", "mim", "masked-classification")
        else ""
    )
    out.print(f"[bold]Search[/bold] on {shown(name)}, {started}")
    out.print(
        f"  task {config.task}{mask}; strategy {config.strategy}; {config.cells} cells "
        f"{'a stage, from' if config.space == 'nas-bench-201' else 'of'} {config.channels} "
        f"channels; {counted(config.epochs, 'epoch')}, batch {config.batch_size}, "
        f"seed {config.seed}"
    )
    out.print(f"[dim]  run directory {shown(path)}[/dim]")


_FAST_ALPHA = 6e-3  # of the preset for few steps


def _remedy(config: SearchConfig) -> str:
    """What makes alpha move further."""
    waited = round(config.alpha_warmup * config.epochs)
    rate = f", a higher rate (--set alpha_lr={_FAST_ALPHA:g})"
    shorter = f", an alpha_warmup below {config.alpha_warmup:g}"
    return (
        f"Alpha moved in {config.epochs - waited} of {counted(config.epochs, 'epoch')}, at a "
        f"rate of {config.alpha_lr:g}: take more --epochs or --epoch-images"
        f"{rate if config.alpha_lr < _FAST_ALPHA else ''}{shorter if waited else ''}."
    )


def _report(out: Console, result: "SearchResult", config: SearchConfig, path: Path) -> None:
    genotype, last = result.genotype, result.records[result.epoch]
    out.print(f"[bold]Found[/bold] in {duration(result.seconds)}")
    for line in architecture_lines(genotype.to_dict()):
        out.print(f"  {shown(line)}")
    if "valid_accuracy" in last:
        out.print(
            f"  supernet accuracy on the search half {percent(last['valid_accuracy'])} (best in "
            f"epoch {result.best_epoch}; the cell is of epoch {result.epoch + 1})"
        )
    if result.undecided and result.relative_entropy is not None:
        out.print(
            "[yellow]This search has not decided anything: the entropy of its mixing weights is "
            f"{result.relative_entropy:.2%} of that of uniform ones. No operation is clearly ahead "
            f"of the others, and another seed may give another cell. {_remedy(config)}[/yellow]"
        )
    if genotype.collapsed:
        out.print(
            f"[yellow]This cell has collapsed: {genotype.parameter_free_count} operations of its "
            "normal cell, more than half of them, learn nothing (skips, pools). A network of it "
            "will be weak. Search longer, with another seed, or take a published cell (sdedge "
            "genotype list).[/yellow]"
        )
    out.print(f"  {shown(path)}/genotype.json, cell.svg, cell.png")
