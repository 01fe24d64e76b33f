"""A comparison: search methods, each with several seeds, in one table with random cells."""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdedge.analysis.trajectories import draw_trajectories
from sdedge.comparison.drawing import draw_comparison
from sdedge.comparison.method import RANDOM, Method
from sdedge.comparison.plan import FILE, Plan
from sdedge.comparison.recipes import SEEDS, Recipe, get_recipe
from sdedge.comparison.standings import Reference, look_up_trials
from sdedge.comparison.summary import COLUMNS, TITLES, Column, Table, summarise
from sdedge.comparison.trial import (
    check_on_data,
    check_trials,
    is_finished,
    protocol_deviations,
)
from sdedge.config import SearchConfig, TrainConfig
from sdedge.device import own_torch
from sdedge.errors import ConfigError, RunError
from sdedge.events import Event, Reporter, silent
from sdedge.files import write_json
from sdedge.lock import lock_folder, lock_if_there
from sdedge.names import find_name
from sdedge.nas.strategies import STRATEGIES
from sdedge.nas.tasks import TASKS
from sdedge.paths import checked_path
from sdedge.pipeline.benchmark import read_table
from sdedge.pipeline.settings import (
    absolute,
    refuse_with_resume,
    resolve_preset,
    with_absolute_paths,
)
from sdedge.pipeline.trials import opener, run_trials
from sdedge.run import RunDir, refuse_foreign


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """The trials of a comparison that are done, a record each, and what a table knows of them."""

    run: Path
    plan: Plan
    rows: Sequence[Mapping[str, Any]]
    deviations: Sequence[str]  # from the recipe that the plan repeats
    reference: Reference | None

    @property
    def recipe(self) -> Recipe | None:
        """The table of the paper that it repeats."""
        return get_recipe(self.plan.recipe) if self.plan.recipe else None

    def table(self, columns: Sequence[Column] = COLUMNS) -> Table:
        """A line a method: means and spreads over the seeds, and ranks."""
        papers = self.recipe.published if self.recipe else {}
        return summarise(self.plan, self.rows, papers, columns)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"run": str(self.run), **self.record()}

    def record(self) -> dict[str, Any]:
        """What comparison.json holds."""
        return {
            "plan": self.plan.to_dict(),
            "departures": self.deviations,
            "rows": self.rows,
            **(self.reference.to_dict() if self.reference else {}),
        }


@dataclass(frozen=True)
class Compared(Event):
    """The table of what is done is written; some trials may have failed, or be left."""

    result: ComparisonResult


def compare(
    strategies: str | Sequence[str] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    recipe: str | None = None,
    preset: str = "auto",
    train: str | None = None,
    random: bool = True,
    train_settings: Mapping[str, Any] | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter = silent,
    **settings: Any,
) -> ComparisonResult:
    """Compare search methods: each with each seed, in one table with random cells.

    Args:
        strategies: methods as `STRATEGY`, `TASK`, `STRATEGY@TASK`, each with settings of its own
            after a colon (`semantic:mask_fill=1`); a list, or joined by commas. By default those
            of the recipe.
        seeds: of the trials; by default those of the paper (2, 5555, 7777, 9999).
        recipe: a table of the paper whose methods and settings to take.
        preset: of the searches, as in `search`.
        train: preset of a training of each cell; none by default, or the recipe's. `none`: not even
            in a recipe.
        random: whether random cells are compared as well.
        train_settings: fields of `TrainConfig` for the trainings.
        run: the folder; a new one below runs/ by default.
        resume: continue the comparison in `run`; only `seeds` and `benchmark_table` may be given.
        reporter: called with each event.
        settings: fields of `SearchConfig` for the searches.

    Raises ConfigError for a plan that cannot run, before anything starts; RunError when trials
    failed and InterruptedRunError on Ctrl-C, both after the table of what is done was written.
    """
    path = None if run is None else checked_path(run)
    with own_torch(), ExitStack() as held:
        if resume:
            others = {
                "strategies": strategies,
                "recipe": recipe,
                "preset": preset != "auto",
                "train": train,
                "no_random": not random,
                "train_set": train_settings,
                **{name: True for name in settings if name != "benchmark_table"},
            }
            refuse_with_resume(sorted(name for name, value in others.items() if value))
            held.enter_context(lock_if_there(path))
            plan = _resumed(path, settings.get("benchmark_table"), seeds)
        else:
            plan = _plan(
                get_recipe(recipe) if recipe else None,
                strategies,
                SEEDS if seeds is None else seeds,
                preset,
                train,
                random=random,
                settings=SearchConfig.check(settings),
                train_settings=train_settings or {},
            )
            _take_folder(held, path)
        known = read_table(plan.settings.get("benchmark_table"))
        opened = opener(reporter)
        for method in plan.methods:
            if not (resume and path and is_finished(path, method, plan.seeds)):
                check_on_data(plan, method, opened)
        folder = path if path and resume else RunDir.create("comparison", path).path
        if resume:
            held.enter_context(lock_folder(folder))
        else:
            _take_folder(held, folder)  # another may have made it meanwhile
        write_json(folder / FILE, {"plan": plan.to_dict()})
        rows, problem = run_trials(plan, folder, opened, reporter)
        if problem and not rows:
            raise problem
        result = ComparisonResult(
            run=folder.absolute(),
            plan=plan,
            rows=rows,
            deviations=_deviations(plan),
            reference=look_up_trials(folder, rows, known) if known else None,
        )
        write_json(folder / FILE, result.record())
        _draw(result)
        reporter(Compared(result))
        if problem:
            raise problem
    return result


def _plan(
    recipe: Recipe | None,
    strategies: str | Sequence[str] | None,
    seeds: Sequence[int],
    preset: str,
    train: str | None,
    *,
    random: bool,
    settings: Mapping[str, Any],
    train_settings: Mapping[str, Any],
) -> Plan:
    if not (strategies or recipe):
        raise ConfigError("no methods to compare: --strategies darts,semantic, or --recipe table-3")
    if "seed" in settings:
        raise ConfigError("seed is given; a comparison has several: --seeds 1,2,3")
    if isinstance(strategies, str):  # commas within brackets are of a list in a setting
        strategies = re.split(r",(?![^\[]*\])", strategies)
    labels = list(strategies or (recipe.methods if recipe else ()))
    if random and RANDOM not in labels:
        labels.append(RANDOM)
    known = tuple(STRATEGIES), tuple(TASKS)
    shared = with_absolute_paths({**(recipe.settings if recipe else {}), **settings})
    trained = (recipe.train if recipe else None) if train is None else train
    if trained is not None:
        trained = find_name(trained, ("none", *TrainConfig.presets())) or trained
    trained = None if trained == "none" else trained
    plan = Plan(
        methods=tuple(Method.parse(label, *known) for label in labels),
        seeds=tuple(seeds),
        preset=resolve_preset(preset, shared),
        settings=shared,
        train=trained,
        train_settings={
            **(recipe.train_settings if recipe and trained else {}),
            **train_settings,
        },
        recipe=recipe.name if recipe else None,
    )
    check_trials(plan)
    return plan


def _resumed(path: Path | None, benchmark_table: str | None, seeds: Sequence[int] | None) -> Plan:
    """The plan in a folder, with another table, or other seeds, if given."""
    if path is None:
        raise ConfigError("--resume needs the folder of a comparison: --run FOLDER")
    plan = Plan.read(path / FILE)
    if benchmark_table:
        settings = {**plan.settings, "benchmark_table": absolute(benchmark_table)}
        plan = replace(plan, settings=settings)
    if seeds is not None:
        plan = replace(plan, seeds=tuple(seeds))
    return plan


def _take_folder(held: ExitStack, path: Path | None) -> None:
    """Lock a folder, if it is there, until `held` ends; RunError for one that is in use."""
    if path is None:
        return
    if not (path / FILE).exists():
        refuse_foreign(path)
    held.enter_context(lock_if_there(path))
    if RunDir(path).config.exists():
        raise RunError(f"{path} is the run directory of a search; choose another folder with --run")
    if (path / FILE).exists():
        raise RunError(
            f"{path} holds a comparison already; resume it: sdedge compare --resume --run {path}"
        )


def _deviations(plan: Plan) -> list[str]:
    return protocol_deviations(plan, get_recipe(plan.recipe)) if plan.recipe else []


def _draw(result: ComparisonResult) -> None:
    known = result.reference
    methods = [method.label for method in result.plan.methods]
    best = {TITLES[name]: accuracy for name, accuracy in known.best.items()} if known else {}
    for suffix in ("svg", "png"):
        draw_comparison(methods, result.rows, best, result.run / f"comparison.{suffix}")
        if known and known.epochs:
            draw_trajectories(known.epochs, known.best, result.run / f"epochs.{suffix}")
