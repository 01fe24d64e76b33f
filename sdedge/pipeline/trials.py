"""The trials of a comparison, one after the other; a stop or a failure of one loses no other."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.comparison.plan import Plan
from sdedge.comparison.trial import OpenDataset, run_trial, trial_config, trial_dir
from sdedge.config import PhaseConfig, SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import InterruptedRunError, RunError, SdedgeError
from sdedge.events import Event, Reporter
from sdedge.loop.events import Stopping
from sdedge.pipeline.images import open_dataset
from sdedge.run import RunDir


@dataclass(frozen=True)
class CompareStarted(Event):
    """The plan is checked, and the first trial comes."""

    plan: Plan
    label: str  # of the first search
    config: SearchConfig  # of it
    run: Path
    trials_left: int


@dataclass(frozen=True)
class TrialStarted(Event):
    """One search, with the training after it, begins: trial `number` of `count`."""

    label: str
    seed: int
    number: int
    count: int
    remaining_seconds: float | None


@dataclass(frozen=True)
class TrialFailed(Event):
    """Failed trials are reported and skipped."""

    error: SdedgeError


def opener(reporter: Reporter) -> OpenDataset:
    """Opens each data set once."""
    opened: dict[tuple[object, ...], Dataset] = {}

    def dataset(config: PhaseConfig) -> Dataset:
        key = (config.dataset, config.data_root, config.stored_size, config.data_seed)
        if key not in opened:
            opened[key] = open_dataset(config, reporter)
        return opened[key]

    return dataset


def run_trials(
    plan: Plan, folder: Path, opened: OpenDataset, reporter: Reporter
) -> tuple[list[dict[str, Any]], SdedgeError | None]:
    """Run what is left of a comparison; give the records of what is done, and what went wrong.

    That is an InterruptedRunError for a stop that was asked for, a RunError for failed trials.
    """
    trials = [(method, seed, trial_dir(folder, method, seed)) for method, seed in plan.trials]
    left = [trial for trial in trials if not _done(trial[2])]
    reporter(_started(plan, folder, len(left)))
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    stopped = False

    def heard(event: Event) -> None:
        nonlocal stopped  # a stop counts, too, where a search had nothing left to do
        stopped = stopped or isinstance(event, Stopping)
        reporter(event)

    started, count = time.monotonic(), len(left)
    for trial in trials:
        method, seed, path = trial
        if trial in left:
            done = count - len(left)
            rest = (time.monotonic() - started) / done * (count - done) if done else None
            reporter(TrialStarted(method.label, seed, done + 1, count, rest))
            left.remove(trial)
        try:
            rows.append(run_trial(plan, method, seed, path, opened, heard))
        except InterruptedRunError:
            stopped = True
        except RunError as error:
            failed.append(f"{method.label}, seed {seed}")
            reporter(TrialFailed(error))
        if stopped and not all(_done(path) for *_, path in trials):
            return rows, InterruptedRunError(
                f"stopped and saved; resume with: sdedge compare --resume --run {folder}"
            )
    message = f"{len(failed)} of {len(trials)} trials failed: {'; '.join(failed)}"
    return rows, RunError(message) if failed else None


def _done(path: Path) -> bool:
    return RunDir(path).trial.exists()


def _started(plan: Plan, folder: Path, left: int) -> CompareStarted:
    first = next((method for method in plan.methods if not method.random), plan.methods[0])
    config = trial_config(plan, first, plan.seeds[0])
    return CompareStarted(plan, first.label, config, folder, left)
