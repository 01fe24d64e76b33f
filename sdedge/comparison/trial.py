"""One trial of a comparison: a search with one seed, and the training of what it found."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sdedge.bounds import Amount, Natural, Seed, Share
from sdedge.comparison.method import Method
from sdedge.comparison.plan import Plan, differences
from sdedge.comparison.recipes import SEEDS, Recipe
from sdedge.config import PhaseConfig, SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.device import derived_seed
from sdedge.errors import ConfigError, GenotypeError, RunError
from sdedge.events import Reporter
from sdedge.files import write_atomic, write_json
from sdedge.genotype import Architecture, Genotype
from sdedge.nas.check import check_search
from sdedge.nas.runner import run_search
from sdedge.nas.stages import build_search
from sdedge.nas.strategies import get_strategy
from sdedge.operations import DARTS
from sdedge.run import RunDir, read_json
from sdedge.schema import to_record
from sdedge.space.spaces import get_space
from sdedge.training.phase import TrainPhase, check_training
from sdedge.training.runner import run_training

# From settings to the data set that they name.
OpenDataset = Callable[[PhaseConfig], Dataset]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What trial.json holds, as far as it is read again."""

    method: str
    seed: Seed
    search: dict[str, Any]
    genotype: dict[str, Any]
    params: Natural
    skip_count: Natural
    collapsed: bool
    macs: Natural = 0
    test_accuracy: Share | None = None
    train_seconds: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class _SearchedTrial(_Trial):
    """What a trial has that drew no cell at random."""

    epochs: Natural
    epoch: Natural
    best_epoch: Natural | None
    search_seconds: Amount
    peak_memory_bytes: Natural
    valid_accuracy: Share | None = None


def trial_dir(folder: Path, method: Method, seed: int) -> Path:
    """The run directory of one trial."""
    return folder / method.folder / f"seed-{seed}"


def is_finished(folder: Path, method: Method, seeds: Sequence[int]) -> bool:
    """Whether a method has been done with all these seeds."""
    return all(RunDir(trial_dir(folder, method, seed)).trial.exists() for seed in seeds)


def trial_config(plan: Plan, method: Method, seed: int) -> SearchConfig:
    """Settings of the search of one trial, the strategy's own included."""
    own = {} if method.random else get_strategy(_strategy(method)).settings
    return plan.search_config(method, seed, own)


def _strategy(method: Method) -> str:
    """The strategy of a method, as text also where comparison.json was changed by hand."""
    return str(SearchConfig.check({"strategy": method.settings.get("strategy", "")})["strategy"])


def check_trials(plan: Plan) -> None:
    """Raise ConfigError, naming the method, for what cannot run, before any data are opened."""
    for method in plan.methods:
        with _named(method):
            config = trial_config(plan, method, plan.seeds[0])
            check_search(config)
            if config.budgeted:
                raise ConfigError("a comparison has no budget; leave out targets and limits")
            trained = plan.train_config(config)
            if trained is None:
                continue
            check_training(trained)
        if config.space != DARTS:
            raise ConfigError(f"cells of {config.space} are looked up, not trained: --train none")


def check_on_data(plan: Plan, method: Method, opened: OpenDataset) -> None:
    """Raise ConfigError, naming the method, for settings that do not fit the data, or DataError."""
    with _named(method):
        config = trial_config(plan, method, plan.seeds[0])
        if not method.random:
            build_search(config, opened(config))
        if trained := plan.train_config(config):
            opened(trained)


@contextmanager
def _named(method: Method) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"method {method.label}: {error}") from error


def protocol_deviations(plan: Plan, recipe: Recipe) -> list[str]:
    """In what this comparison is not the published one, a line a departure."""
    lines = []
    given = {method.label for method in plan.methods if not method.random}
    if missing := sorted(set(recipe.methods) - given):
        lines.append(f"methods left out: {', '.join(missing)}")
    if added := sorted(given - set(recipe.methods)):
        lines.append(f"methods that it has not: {', '.join(added)}")
    if set(plan.seeds) != set(SEEDS):
        lines.append(f"seeds: {', '.join(map(str, plan.seeds))} (published: four)")
    found: dict[str, list[str]] = {}  # departure -> methods
    for method in plan.methods:
        if method.random:
            continue
        config = trial_config(plan, method, plan.seeds[0])
        published = replace(plan, preset="paper", settings=recipe.settings)
        there = trial_config(published, method, plan.seeds[0])
        for line in _deviations("search", config, there):
            found.setdefault(line, []).append(method.label)
    searched = sum(not method.random for method in plan.methods)
    for line, labels in found.items():
        lines.append(line if len(labels) == searched else f"{line} ({', '.join(labels)})")
    return lines + _train_deviations(plan, recipe)


def _train_deviations(plan: Plan, recipe: Recipe) -> list[str]:
    if recipe.train is None:
        return []
    search = SearchConfig()
    here = plan.train_config(search)
    if here is None:
        return ["training: none"]
    published = replace(plan, train=recipe.train, train_settings=recipe.train_settings)
    there = published.train_config(search)
    return _deviations("training", here, there) if there else []


def _deviations(phase: str, here: PhaseConfig, there: PhaseConfig) -> list[str]:
    return [
        f"{phase}: {name} {_said(name, ours)} (published: {_said(name, published)})"
        for name, (published, ours) in differences(here, there).items()
    ]


def _said(name: str, value: object) -> str:
    if value is None:
        return "the data set's own" if name == "image_size" else "all"
    return str(value)


def run_trial(
    plan: Plan, method: Method, seed: int, folder: Path, opened: OpenDataset, reporter: Reporter
) -> dict[str, Any]:
    """Run one trial, or resume it, in `folder`; a finished one is read.

    Raises InterruptedRunError, after a checkpoint, when asked to stop.
    """
    config = trial_config(plan, method, seed)
    record = RunDir(folder).trial
    if record.exists():
        return _finished(record, method, config)
    run = RunDir.create(method.folder, folder)
    with run.lock():
        found, row = (_draw if method.random else _search)(config, run, opened, reporter)
        row = {
            "method": method.label,
            "seed": seed,
            "search": config.to_dict(),
            "genotype": found.to_dict(),
            **asdict(get_space(config.space).count(found)),
            "skip_count": found.skip_count,
            "collapsed": found.collapsed,
            **row,
            **_train(plan, config, found, run, opened, reporter),
        }
        write_json(record, row)
    return read_json(record)


def _finished(record: Path, method: Method, config: SearchConfig) -> dict[str, Any]:
    row = read_json(record)
    try:
        kind = _Trial if method.random else _SearchedTrial
        done = to_record(row, kind, source="its content")
        search = SearchConfig.from_dict(done.search, source="its search")
        get_space(config.space).architecture.from_dict(done.genotype, source="its cell")
    except (ConfigError, GenotypeError, RunError) as error:
        raise RunError(f"{record} is damaged: {error}; remove it to do it again") from error
    if (done.method, done.seed) != (method.label, config.seed) or differences(search, config):
        raise RunError(f"{record} is of another trial; compare in another folder (--run)")
    return row


_Found = tuple[Architecture, dict[str, Any]]


def _draw(config: SearchConfig, run: RunDir, opened: OpenDataset, reporter: Reporter) -> _Found:
    rng = random.Random(derived_seed(config.seed, "random architecture"))
    found = get_space(config.space, config.operations).draw(rng)
    write_atomic(run.genotype, found.to_json().encode())
    return found, {}


def _search(config: SearchConfig, run: RunDir, opened: OpenDataset, reporter: Reporter) -> _Found:
    resume = "search" in run.phases()
    if resume and differences(
        SearchConfig.from_dict(run.settings("search"), source=str(run.config)), config
    ):
        raise RunError(
            f"{run.path} holds a search with other settings; compare in another folder (--run)"
        )
    phase = build_search(config, opened(config))
    result = run_search(phase, run, reporter, resume=resume)
    chosen = result.records[result.epoch]
    return result.genotype, {
        "epochs": len(result.records),
        "epoch": result.epoch + 1,
        "best_epoch": result.best_epoch,
        "undecided": result.undecided,
        "search_seconds": result.seconds,
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in result.records),
        **({"valid_accuracy": chosen["valid_accuracy"]} if "valid_accuracy" in chosen else {}),
    }


def _train(
    plan: Plan,
    search: SearchConfig,
    found: Architecture,
    run: RunDir,
    opened: OpenDataset,
    reporter: Reporter,
) -> dict[str, Any]:
    config = plan.train_config(search)
    if config is None:
        return {}
    if not isinstance(found, Genotype):  # check_trials has refused it
        raise TypeError(f"a {type(found).__name__} is not trained")
    phase = TrainPhase(config, found, opened(config))
    result = run_training(phase, run, reporter, resume="train" in run.phases())
    return {
        "test_accuracy": result.test_accuracy,
        "train_seconds": result.seconds,
        "params": result.counts.params,
        "macs": result.counts.macs,
    }
