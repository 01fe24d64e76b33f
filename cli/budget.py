"""A budget in a search and a training: the plan, and the size that is trained.

All of it is in the run's budget.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sdedge.cli.output import kilobytes, milliseconds, shown
from sdedge.cli.progress import ConsoleReporter
from sdedge.config import LIMIT_NAMES, SearchConfig
from sdedge.errors import ConfigError, RunError
from sdedge.escape import short
from sdedge.files import write_json
from sdedge.genotype import Genotype
from sdedge.paths import checked_path
from sdedge.run import RunDir, read_json

if TYPE_CHECKING:
    from sdedge.deploy.fit.prices import Plan
    from sdedge.search.budget import Costs


def budget_file(run: RunDir) -> Path:
    """Where a run keeps its budget."""
    return run.budget


class BudgetReporter(ConsoleReporter):
    """Progress of a search, with what the derived cell costs after each epoch."""

    def epoch_ended(self, record: Mapping[str, Any]) -> None:
        """One line more for each limit."""
        super().epoch_ended(record)
        for limit, figures in record.get("budget", {}).items():
            derived, expected, allowed = (
                _amount(limit, figures[name]) for name in ("derived", "expected", "limit")
            )
            self._console.print(
                f"[dim]           {LIMIT_NAMES[limit]}: this cell {derived} of {allowed}, expected "
                f"{expected}; weight {figures['multiplier']:.2f}[/dim]"
            )


def plan_budget(out: Console, config: SearchConfig, classes: int, image_size: int) -> "Plan | None":
    """Prices for a search within the budget of `config`, if it has one.

    Raises ConfigError when no network of the space meets it, TargetError for a target that is
    unknown, damaged or does not run the precision.
    """
    if not config.budgeted:
        return None
    from sdedge.deploy.fit.prices import make_plan
    from sdedge.deploy.fit.requirements import require

    requirements = require(config, classes, image_size)
    out.print("[dim]checking the budget and pricing operations[/dim]")
    plan = make_plan(requirements, config.cells)
    channels, cells = plan.reference
    error = max((costs.error for costs in plan.costs.values()), default=0.0)
    device = f" on {requirements.target.name}" if requirements.target else ""
    limits = listed_limits({limit: costs.limit for limit, costs in plan.costs.items()})
    share = requirements.limits.confidence
    if "max_latency_ms" in plan.costs:
        end = f"upper end of the {share:.0%} interval" if share else "middle"
        limits += f"; latency is the {end} of the prediction"
    out.print(
        f"[bold]Budget[/bold] in {requirements.precision}{device}: "
        + (limits or "it leaves the cell free, and limits width and depth alone")
    )
    out.print(
        f"[dim]  alpha pays what operations cost in {cells} cells of {channels} channels (to "
        f"{error:.1%}); the network's own width and depth are chosen when the cell is there[/dim]"
    )
    return plan


def known_problem(config: SearchConfig) -> tuple[int, int] | None:
    """Classes and image size that a budget is for, known before any image is decoded.

    None without a budget, and where there is no such data set. Raises DataError for a folder
    without classes.
    """
    from sdedge.data.catalog import DATASETS, describe_datasets, find_source

    if not config.budgeted:
        return None
    if config.dataset in DATASETS:
        rows = describe_datasets(Path(config.data_root))
        row = next(row for row in rows if row["name"] == config.dataset)
        return row["classes"], config.image_size or row["image_size"]
    folder = checked_path(config.dataset)
    if not folder.is_dir():
        return None
    source = find_source(
        config.dataset, Path(config.data_root), config.stored_size, config.data_seed
    )
    return len(source.counts), source.image_size


def planned_costs(run: RunDir) -> "dict[str, Costs]":
    """The prices that the search in `run` started with; RunError when they are gone."""
    from sdedge.search.budget import Costs

    file = budget_file(run)
    costs = read_json(file).get("costs")
    if not isinstance(costs, dict):
        raise RunError(f"{file} is damaged: costs is {short(costs)}")
    return {name: Costs.from_dict(c, source=str(file)) for name, c in costs.items()}


def choose_size(out: Console, run: RunDir, genotype: Genotype) -> dict[str, Any] | None:
    """Choose width and depth for the cell that was found, tell, and write them to budget.json.

    Gives the chosen size; None when the cell fits at no size.
    """
    from sdedge.deploy.fit.requirements import Requirements, largest

    file = budget_file(run)
    plan = read_json(file)
    out.print("[dim]choosing width and depth[/dim]")
    requirements = Requirements.from_dict(plan, source=str(file))
    sizes = [size.to_dict() for size in requirements.sizes(genotype)]
    chosen = largest(sizes)
    write_json(file, {**plan, "sizes": sizes, "chosen": chosen})
    if chosen is None:
        out.print(
            "[yellow]This cell fits the budget at no width and depth, though others do. Search "
            "again, longer or with another seed, or allow more.[/yellow]"
        )
        return None
    found = {limit: chosen["found"][limit] for limit in planned_costs(run)}
    out.print(
        f"  width and depth for the budget: {chosen['cells']} cells of {chosen['channels']} "
        f"channels; {listed_limits(found) or 'within the device'}"
    )
    return dict(chosen)


def budgeted_size(
    out: Console, run: RunDir, overrides: Mapping[str, Any], recipe: Mapping[str, Any]
) -> dict[str, int]:
    """Channels and cells that the budget of `run` chose for a training, if it has a budget.

    A width or depth in `overrides` stands, and decides the other. A budget is for images of one
    size and the CIFAR stem: where `overrides` or the preset's `recipe` have others, or both width
    and depth are given, nothing is chosen. Raises ConfigError when the cell fits at no size.
    """
    from sdedge.deploy.fit.requirements import Requirements, largest

    file = budget_file(run)
    if not file.exists():
        return {}
    plan = read_json(file)
    if "sizes" not in plan:
        raise RunError(
            f"{file} has no width and depth yet; finish the search with: "
            f"sdedge search --resume --run {run.path}"
        )
    planned = ("cifar", Requirements.from_dict(plan, source=str(file)).image_size)
    asked = {**recipe, **overrides}
    elsewhere = planned != (asked.get("stem", planned[0]), asked.get("image_size", planned[1]))
    given = {name: overrides[name] for name in ("channels", "cells") if name in overrides}
    free = not elsewhere and len(given) < 2
    if free and (chosen := largest(plan["sizes"], **given)):
        return {name: chosen[name] for name in ("channels", "cells")}
    if free and not given:
        raise ConfigError(
            f"the cell of {run.path} fits its budget at no width and depth; search again, or give "
            "--channels and --cells to train one that does not fit"
        )
    out.print(
        f"[yellow]The budget of {shown(run.path)} did not choose this width and depth "
        "for this stem and image size; the export tells whether it is met.[/yellow]"
    )
    return {}


def carry_budget(origin: RunDir, run: RunDir) -> None:
    """Take the budget along to a training in a run of its own."""
    if budget_file(origin).exists() and origin.path != run.path:
        from sdedge.pipeline.verdict import stored_requirements

        stored_requirements(origin)  # a damaged one is told here, before a training
        write_json(budget_file(run), read_json(budget_file(origin)))


def listed_limits(figures: Mapping[str, float]) -> str:
    """Limits, or what was found for each, by the names that people use."""
    return ", ".join(
        f"{LIMIT_NAMES[limit]} {_amount(limit, value)}" for limit, value in figures.items()
    )


def _amount(limit: str, value: float) -> str:
    if limit == "max_latency_ms":
        return f"{milliseconds(value)} ms"
    return f"{value:,.0f}" if limit == "max_params" else kilobytes(1024 * value)
