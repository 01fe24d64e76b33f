"""A search: from images, and perhaps a budget, to a cell in a run directory."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdedge.analysis.drawing import draw_architecture
from sdedge.config import SearchConfig
from sdedge.device import own_torch
from sdedge.events import Event, Reporter, silent
from sdedge.files import write_json
from sdedge.genotype import Genotype
from sdedge.nas.check import check_search
from sdedge.nas.phase import SearchPhase
from sdedge.nas.runner import SearchOutcome, run_search
from sdedge.nas.stages import StagedSearch, build_search
from sdedge.nas.strategies import get_strategy
from sdedge.nas.tasks import task_name
from sdedge.paths import checked_path
from sdedge.pipeline.benchmark import Benchmark, look_up_search, read_table
from sdedge.pipeline.budget import (
    choose_size,
    known_problem,
    plan_budget,
    planned_costs,
)
from sdedge.pipeline.images import open_dataset
from sdedge.pipeline.runs import take_folder
from sdedge.pipeline.settings import (
    absolute,
    absolute_config,
    check_whole,
    moved_settings,
    preset_text,
    resolve_preset,
    resumed_config,
    with_absolute_paths,
)
from sdedge.run import RunDir
from sdedge.space.nasbench201.benchmark_table import BenchmarkTable


@dataclass(frozen=True)
class SearchStarted(Event):
    """Everything is in place, and the first step comes."""

    config: SearchConfig
    dataset: str
    origin: str  # of the settings: the preset in words, or that the run resumes
    run: Path


@dataclass(frozen=True)
class CellFound(Event):
    """The search has come to its genotype; it is written and drawn."""

    outcome: SearchOutcome
    config: SearchConfig
    run: Path


@dataclass(frozen=True)
class CellsLookedUp(Event):
    """What the benchmark table says of the cell; that of every epoch is written and drawn."""

    benchmark: Benchmark
    run: Path


@dataclass(frozen=True, kw_only=True)
class SearchResult(SearchOutcome):
    """The genotype of a search, the record of each epoch, and what follows from its settings."""

    run: Path
    config: SearchConfig
    size: Mapping[str, Any] | None  # width and depth for the budget; None: no budget, or none fits
    benchmark: Benchmark | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        record = self.records[self.epoch]
        return {
            "run": str(self.run),
            "genotype": self.genotype.to_dict(),
            "collapsed": self.genotype.collapsed,
            "undecided": self.undecided,
            "alpha_relative_entropy": self.relative_entropy,
            "epochs": len(self.records),
            "best_epoch": self.best_epoch,
            "search_seconds": self.seconds,
            **({"size": self.size} if self.config.budgeted else {}),
            **({"benchmark": dict(self.benchmark.cell)} if self.benchmark else {}),
            **{k: v for k, v in record.items() if k.startswith(("train_", "valid_"))},
        }


def search(
    config: SearchConfig | None = None,
    *,
    preset: str = "auto",
    run: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter = silent,
    **settings: Any,
) -> SearchResult:
    """Search a cell: DARTS guided by masked image modelling (Semantic-DARTS, algorithm 1).

    Args:
        config: all settings; or leave it out, and give some of them by name.
        preset: what the settings not given are: `paper`, `quick`, `demo`; `auto` is `paper` on a
            GPU and `quick` on a CPU.
        run: the run directory; a new one below runs/ by default.
        resume: continue the search in `run` (by default the newest run) from its last checkpoint,
            bit for bit as if it had not stopped; only `dataset`, `data_root` and `benchmark_table`
            may be given then.
        reporter: called with each event.
        settings: fields of `SearchConfig`.

    Raises ConfigError for settings that are unknown, out of range or cannot run here, DataError for
    images, TargetError for a device profile, RunError for the run directory, and
    InterruptedRunError, after a checkpoint, on Ctrl-C.
    """
    check_whole(config, SearchConfig, preset, settings, resume=resume)
    path = None if run is None else checked_path(run)
    with own_torch(), ExitStack() as held:
        if resume:
            begun = _resume(path, preset, SearchConfig.check(settings), held, reporter)
        else:
            begun = _begin(path, config, preset, settings, held, reporter)
        return _finish(begun, reporter, resume=resume)


@dataclass(frozen=True)
class _Search:
    """A search that can run."""

    config: SearchConfig
    dataset: str
    origin: str
    table: BenchmarkTable | None
    phase: SearchPhase | StagedSearch
    run: RunDir


def _resume(
    path: Path | None,
    preset: str,
    settings: dict[str, Any],
    held: ExitStack,
    reporter: Reporter,
) -> _Search:
    table = settings.pop("benchmark_table", None)  # may come later
    moved = moved_settings(settings, *(["preset"] if preset != "auto" else []))
    run = RunDir.open(path)
    held.enter_context(run.lock())
    config = resumed_config(run, "search", SearchConfig, moved)
    if table:
        config = replace(config, benchmark_table=absolute(table))
    data = open_dataset(config, reporter)
    known = read_table(config.benchmark_table)
    phase = build_search(config, data, planned_costs(run) if config.budgeted else None)
    return _Search(config, data.name, "resumed", known, phase, run)


def _begin(
    path: Path | None,
    config: SearchConfig | None,
    preset: str,
    settings: Mapping[str, Any],
    held: ExitStack,  # takes the lock of the run directory
    reporter: Reporter,
) -> _Search:
    if config is None:
        config, origin = _from_preset(preset, SearchConfig.check(settings))
    else:
        config, origin = absolute_config(config), "with a config"
    check_search(config)
    take_folder(held, path, "search")
    known = read_table(config.benchmark_table)
    problem = known_problem(config)
    plan = plan_budget(config, *problem, reporter) if problem else None
    data = open_dataset(config, reporter)
    if not problem:
        plan = plan_budget(config, len(data.classes), data.image_size, reporter)
    phase = build_search(config, data, plan.costs if plan else None)
    run = RunDir.create(data.name, path)
    take_folder(held, run.path, "search")  # another may have made it meanwhile
    if plan:
        write_json(run.budget, plan.to_dict())
    return _Search(config, data.name, origin, known, phase, run)


def _from_preset(preset: str, settings: dict[str, Any]) -> tuple[SearchConfig, str]:
    """The config, and the preset in words."""
    chosen = resolve_preset(preset, settings)
    strategy = get_strategy(settings.get("strategy", SearchConfig.strategy))
    task = task_name(settings.get("task", SearchConfig.task))
    named = {**with_absolute_paths(settings), "strategy": strategy.name, "task": task}
    config = SearchConfig.from_preset(chosen, named, strategy.settings)
    return config, preset_text(preset, chosen)


def _finish(begun: _Search, reporter: Reporter, *, resume: bool) -> SearchResult:
    config, run = begun.config, begun.run
    reporter(SearchStarted(config, begun.dataset, begun.origin, run.path))
    outcome = run_search(begun.phase, run, reporter, resume=resume)
    for suffix in ("svg", "png"):
        draw_architecture(
            outcome.genotype,
            run.cell_drawing(suffix),
            title=f"{config.strategy}, {config.task} task, on {begun.dataset}",
        )
    reporter(CellFound(outcome, config, run.path))
    genotype, size, benchmark = outcome.genotype, None, None
    if config.budgeted and isinstance(genotype, Genotype):
        size = choose_size(run, genotype, reporter)
    if begun.table:
        benchmark = look_up_search(run, outcome, begun.table)
        reporter(CellsLookedUp(benchmark, run.path))
    return SearchResult(
        **vars(outcome), run=run.path.absolute(), config=config, size=size, benchmark=benchmark
    )
