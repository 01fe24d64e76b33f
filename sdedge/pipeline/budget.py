"""A budget from search to training: the plan, its prices, and the size that is trained.

All of it is in the run's budget.json; the verdict on an exported file is `pipeline.verdict`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.config import SearchConfig
from sdedge.data.catalog import DATASETS, describe_datasets, find_source
from sdedge.deploy.fit.prices import Plan, make_plan
from sdedge.deploy.fit.requirements import Requirements, largest, require
from sdedge.errors import ConfigError, RunError
from sdedge.events import Event, Notice, Reporter
from sdedge.files import write_json
from sdedge.genotype import Genotype
from sdedge.nas.budget import Costs
from sdedge.paths import checked_path
from sdedge.pipeline.verdict import stored_requirements
from sdedge.run import RunDir, read_json
from sdedge.schema import to_record


@dataclass(frozen=True)
class BudgetPlanned(Event):
    """A network of the space can meet the budget, and operations have prices."""

    plan: Plan


@dataclass(frozen=True)
class SizeChosen(Event):
    """Width and depth for the budget, and what the network takes of each limit searched for."""

    channels: int
    cells: int
    found: Mapping[str, float]


def plan_budget(
    config: SearchConfig, classes: int, image_size: int, reporter: Reporter
) -> Plan | None:
    """Prices for a search within the budget of `config`, if it has one.

    Raises ConfigError when no network of the space meets it, TargetError for a target that is
    unknown, damaged or does not run the precision.
    """
    if not config.budgeted:
        return None
    requirements = require(config, classes, image_size)
    reporter(Notice("checking the budget and pricing operations"))
    plan = make_plan(requirements, config.cells)
    reporter(BudgetPlanned(plan))
    return plan


def known_problem(config: SearchConfig) -> tuple[int, int] | None:
    """Classes and image size that a budget is for, known before any image is decoded.

    None without a budget, and where there is no such data set. Raises DataError for a folder
    without classes.
    """
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


def planned_costs(run: RunDir) -> dict[str, Costs]:
    """The prices that the search in `run` started with; RunError when they are gone."""
    costs = read_json(run.budget).get("costs")
    kind, source = dict[str, dict[str, Any]], f"{run.budget} is damaged: costs"
    return {
        name: Costs.from_dict(prices, source=str(run.budget))
        for name, prices in to_record(costs, kind, source=source).items()
    }


def choose_size(run: RunDir, genotype: Genotype, reporter: Reporter) -> dict[str, Any] | None:
    """Choose width and depth for the cell of a search, and write them to budget.json.

    Gives the chosen size; None when no size fits.
    """
    plan = read_json(run.budget)
    reporter(Notice("choosing width and depth"))
    requirements = Requirements.from_dict(plan, source=str(run.budget))
    sizes = [size.to_dict() for size in requirements.sizes(genotype)]
    chosen = largest(sizes)
    write_json(run.budget, {**plan, "sizes": sizes, "chosen": chosen})
    if chosen is None:
        reporter(
            Notice(
                "This cell does not fit the budget at any width and depth; others do. Search "
                "again, longer or with another seed, or allow more.",
                warning=True,
            )
        )
        return None
    found = {limit: chosen["found"][limit] for limit in planned_costs(run)}
    reporter(SizeChosen(chosen["channels"], chosen["cells"], found))
    return dict(chosen)


def budgeted_size(
    run: RunDir, settings: Mapping[str, Any], recipe: Mapping[str, Any], reporter: Reporter
) -> dict[str, int]:
    """Channels and cells that the budget of `run` chose for a training, if it has a budget.

    A width or depth in `settings` stands, and decides the other. A budget is for images of one
    size and the CIFAR stem: where `settings` or the preset's `recipe` have others, or both width
    and depth are given, nothing is chosen. Raises ConfigError when no size fits.
    """
    if not run.budget.exists():
        return {}
    plan = read_json(run.budget)
    if "sizes" not in plan:
        raise RunError(
            f"{run.budget} has no width and depth yet; finish the search with: "
            f"sdedge search --resume --run {run.path}"
        )
    planned = ("cifar", Requirements.from_dict(plan, source=str(run.budget)).image_size)
    asked = {**recipe, **settings}
    elsewhere = planned != (asked.get("stem", planned[0]), asked.get("image_size", planned[1]))
    fixed = {name: settings[name] for name in ("channels", "cells") if name in settings}
    free = not elsewhere and len(fixed) < 2
    if free and (chosen := largest(plan["sizes"], **fixed)):
        return {name: chosen[name] for name in ("channels", "cells")}
    if free and not fixed:
        raise ConfigError(
            f"the cell of {run.path} does not fit its budget at any width and depth; search again, "
            "or give --channels and --cells to train one that does not fit"
        )
    reporter(
        Notice(
            f"The budget of {run.path} did not choose this width and depth for this stem and "
            "image size; the export tells whether it is met.",
            warning=True,
        )
    )
    return {}


def carry_budget(origin: RunDir, run: RunDir) -> None:
    """Take the budget along to a training in a run of its own."""
    if origin.budget.exists() and origin.path != run.path:
        stored_requirements(origin)  # a damaged one is reported here, before a training
        write_json(run.budget, read_json(origin.budget))
