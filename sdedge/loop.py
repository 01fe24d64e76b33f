"""The resumable epoch loop that a search and a training run in.

A phase says what one step does; the loop seeds every step, keeps checkpoints, logs epochs, stops
on Ctrl-C, and measures. Because each step is seeded by its number, a run resumed from any
checkpoint repeats bit for bit what an uninterrupted one would have done.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sdedge.bounds import Amount, Natural
from sdedge.checkpoint import read_checkpoint, under_prefix, with_prefix, write_checkpoint
from sdedge.device import explain_out_of_memory, peak_memory_bytes, reset_peak_memory, seed_step
from sdedge.errors import InterruptedRunError, RunError
from sdedge.interrupt import stop_on_signal
from sdedge.meters import Meters
from sdedge.run import Record, RunDir
from sdedge.schema import not_finite, to_record

# The first step warms up; the estimate is made from those after it.
ESTIMATE_STEPS = 4


# What the records of equal runs may differ in.
MEASURED = ("elapsed_s", "peak_memory_bytes")


class Phase(ABC):
    """What the loop runs: a search, or a training."""

    name: str
    epochs: int
    steps: int  # of one epoch
    seed: int
    device: torch.device
    evaluation_cost: float = 0.0  # of an epoch's end, in usual steps; for estimates only
    record_type: type[Record] = Record  # what it logs of an epoch, as far as it is read again
    data_fingerprint: str = ""  # changes with the images, so that a resume cannot mix two sets

    def relative_cost(self, epoch: int) -> float:
        """Cost of a step of this epoch, in units of a usual step; for estimates only."""
        return 1.0

    @abstractmethod
    def begin_epoch(self, epoch: int) -> None:
        """Set what changes from epoch to epoch, such as the learning rate."""

    @abstractmethod
    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """The batches of an epoch from `start_step` on; they depend on the epoch alone."""

    @abstractmethod
    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """Do one step and give scalar tensors to log."""

    @abstractmethod
    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Evaluate, and give plain values to log."""

    def ended(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Whether to stop before the last epoch, judged by what the epochs so far logged."""
        return False

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that later steps depend on."""

    @abstractmethod
    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave; RunError naming `path` when it does not fit."""


@dataclass(frozen=True)
class Estimate:
    """What the rest of the phase will cost, from a few measured steps."""

    phase: str
    epochs: int
    steps: int
    step_seconds: float
    remaining_seconds: float
    peak_memory_bytes: int
    device: str


@dataclass(frozen=True)
class Progress:
    """Where a phase is; `means` waits for the device, so read it sparingly."""

    phase: str
    epoch: int
    epochs: int
    step: int  # done in this epoch
    steps: int
    remaining_seconds: float | None
    means: Callable[[], dict[str, float]]


class Reporter(Protocol):
    """Who is told how the work goes."""

    def estimated(self, estimate: Estimate) -> None:
        """The cost is known, after the first few steps."""

    def stepped(self, progress: Progress) -> None:
        """A step was done."""

    def epoch_ended(self, record: Mapping[str, Any]) -> None:
        """An epoch was done, evaluated and logged."""

    def stopping(self) -> None:
        """A stop was asked for; it comes at the end of this step."""


class Clock:
    """Measures steps and evaluations of this process, to say how long the rest will take."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._measured_steps = 0
        self._measured_cost = 0.0
        self._step_seconds = 0.0
        self._evaluation_seconds: float | None = None
        self._last = time.monotonic()

    def start(self) -> None:
        """What follows is a step or an evaluation."""
        self._last = time.monotonic()

    def stepped(self, epoch: int) -> None:
        """A step ends now; the first one is left out of the mean."""
        now = time.monotonic()
        self._measured_steps += 1
        if self._measured_steps > 1:
            self._step_seconds += now - self._last
            self._measured_cost += self._phase.relative_cost(epoch)
        self._last = now

    def evaluated(self) -> None:
        """An evaluation ends now."""
        self._evaluation_seconds = time.monotonic() - self._last

    @property
    def warming(self) -> bool:
        """True until there are enough steps for an estimate: these must be timed exactly."""
        return self._measured_steps < ESTIMATE_STEPS

    @property
    def due(self) -> bool:
        """True once, at the step that completes the estimate."""
        return self._measured_steps == ESTIMATE_STEPS

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of a usual step, or None before there is one to judge by."""
        return self._step_seconds / self._measured_cost if self._measured_cost else None

    def remaining(self, epoch: int, step: int) -> float | None:
        """Seconds until the end of the phase, from `step` steps into `epoch`."""
        if self.step_seconds is None:
            return None
        left = range(epoch, self._phase.epochs)
        cost = self._phase.steps * sum(map(self._phase.relative_cost, left))
        if left:
            cost -= step * self._phase.relative_cost(epoch)
        evaluation = self._evaluation_seconds
        if evaluation is None:
            evaluation = self._phase.evaluation_cost * self.step_seconds
        return cost * self.step_seconds + len(left) * evaluation


@dataclass
class Position:
    """Where a run stands: the next step to do, and what it took to get here."""

    epoch: int = 0
    step: int = 0
    elapsed_seconds: float = 0.0
    records: int = 0
    meters: Meters = field(default_factory=Meters)


def run_phase(
    phase: Phase, run: RunDir, reporter: Reporter, *, resume: bool, checkpoint_seconds: float
) -> float:
    """Run `phase` to its end and give the seconds it took, those before a resume included.

    Raises InterruptedRunError after a checkpoint when a signal asks to stop, and RunError when a
    checkpoint cannot be read or written, or numbers of an epoch are not finite. Whoever calls this
    holds the lock of `run`.
    """
    if resume:
        position = _restore(phase, run)
    else:
        run.checkpoint(phase.name).unlink(missing_ok=True)  # an earlier run's
        position = Position()
    run.rewind_metrics(phase.name, position.records)
    clock = Clock(phase)
    reset_peak_memory(phase.device)
    started = time.monotonic() - position.elapsed_seconds
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        position.elapsed_seconds = time.monotonic() - started
        _save(phase, run, position)
        saved = time.monotonic()

    with stop_on_signal(reporter.stopping) as stop, explain_out_of_memory(phase.device):
        while _goes_on(phase, run, position):
            phase.begin_epoch(position.epoch)
            clock.start()
            for batch in phase.batches(position.epoch, position.step):
                seed_step(phase.seed, phase.name, position.epoch, position.step)
                position.meters.add(phase.step(position.epoch, position.step, batch))
                position.step += 1
                _measure(phase, clock, position, reporter)
                if stop.is_set() or time.monotonic() - saved >= checkpoint_seconds:
                    save()
                    clock.start()
                if stop.is_set():
                    raise _interrupted(phase, run)
            clock.start()
            record = _finish_epoch(phase, position)
            record["elapsed_s"] = round(time.monotonic() - started, 3)
            record["peak_memory_bytes"] = peak_memory_bytes(phase.device)
            run.append_metrics(record)
            clock.evaluated()
            position.epoch, position.step, position.meters = position.epoch + 1, 0, Meters()
            position.records += 1
            save()
            reporter.epoch_ended(record)
            if stop.is_set() and _goes_on(phase, run, position):
                raise _interrupted(phase, run)
    return position.elapsed_seconds


def _goes_on(phase: Phase, run: RunDir, position: Position) -> bool:
    return position.epoch < phase.epochs and not phase.ended(
        run.read_metrics(phase.name, phase.record_type)
    )


def _interrupted(phase: Phase, run: RunDir) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped and saved; go on with: sdedge {phase.name} --resume --run {run.path}"
    )


def _measure(phase: Phase, clock: Clock, position: Position, reporter: Reporter) -> None:
    if clock.warming and phase.device.type == "cuda":
        torch.cuda.synchronize(phase.device)
    clock.stepped(position.epoch)
    remaining = clock.remaining(position.epoch, position.step)
    if clock.due and remaining is not None and clock.step_seconds is not None:
        reporter.estimated(
            Estimate(
                phase=phase.name,
                epochs=phase.epochs,
                steps=phase.steps,
                step_seconds=clock.step_seconds,
                remaining_seconds=remaining,
                peak_memory_bytes=peak_memory_bytes(phase.device),
                device=str(phase.device),
            )
        )
    reporter.stepped(
        Progress(
            phase=phase.name,
            epoch=position.epoch,
            epochs=phase.epochs,
            step=position.step,
            steps=phase.steps,
            remaining_seconds=remaining,
            means=position.meters.means,
        )
    )


def _finish_epoch(phase: Phase, position: Position) -> dict[str, Any]:
    """The record of an epoch; RunError where a number in it, or in the state, is not finite."""
    means = {f"train_{name}": value for name, value in position.meters.means().items()}
    _require_finite(phase, position, not_finite(means))
    # The last step's update is in no mean.
    _require_finite(phase, position, _not_finite_tensors(phase.state()))
    seed_step(phase.seed, phase.name, position.epoch, "evaluate")
    evaluated = phase.end_epoch(position.epoch)
    _require_finite(phase, position, not_finite(evaluated))
    return {"phase": phase.name, "epoch": position.epoch + 1, **means, **evaluated}


def _require_finite(phase: Phase, position: Position, wrong: Iterator[tuple[str, float]]) -> None:
    for where, number in wrong:
        raise RunError(
            f"the {phase.name} diverged in epoch {position.epoch + 1}: {where} is {number}. "
            "Start a new run with a lower learning rate."
        )


def _not_finite_tensors(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, float]]:
    """The first number that is not finite of each tensor that has one."""
    floating = {name: t for name, t in tensors.items() if t.is_floating_point()}
    # One wait for the device, not one a tensor.
    flags = [tensor.isfinite().all() for tensor in floating.values()]
    finite = torch.stack(flags).tolist() if flags else []
    for (name, tensor), whole in zip(floating.items(), finite, strict=True):
        if not whole:
            yield name, float(tensor[~tensor.isfinite()][0])


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a checkpoint says of itself."""

    phase: str
    epoch: Natural
    step: Natural
    elapsed_seconds: Amount
    records: Natural
    data: str


def _save(phase: Phase, run: RunDir, position: Position) -> None:
    tensors = {
        **with_prefix("state", phase.state()),
        **with_prefix("meters", position.meters.tensors()),
    }
    header = _Header(
        phase=phase.name,
        epoch=position.epoch,
        step=position.step,
        elapsed_seconds=position.elapsed_seconds,
        records=position.records,
        data=phase.data_fingerprint,
    )
    write_checkpoint(run.checkpoint(phase.name), tensors, asdict(header))


def _restore(phase: Phase, run: RunDir) -> Position:
    path = run.checkpoint(phase.name)
    if not path.exists():  # stopped before the first checkpoint: the same start again
        return Position()
    checkpoint = read_checkpoint(path)
    source = f"{path} is not a checkpoint of a {phase.name}"
    header = to_record(checkpoint.header, _Header, source=source)
    position = Position(
        epoch=header.epoch,
        step=header.step,
        elapsed_seconds=header.elapsed_seconds,
        records=header.records,
    )
    try:
        position.meters.load(under_prefix("meters", checkpoint.tensors), phase.device)
    except (KeyError, ValueError) as error:
        raise RunError(f"{source}: {error}") from error
    if header.data != phase.data_fingerprint:
        raise RunError(
            f"{path} was made with other images than the data set holds now; "
            "put them back, or start a new run"
        )
    if len(run.read_metrics(phase.name)) < position.records:
        raise RunError(
            f"{run.metrics} has fewer than the {position.records} epochs of {path.name}; "
            "it was changed or removed, so this run cannot go on"
        )
    phase.load_state(under_prefix("state", checkpoint.tensors), path)
    # Only now: a search that went back has more epochs than its settings say.
    if header.epoch > phase.epochs or header.step > phase.steps:
        raise RunError(f"{source}: it is of epoch {header.epoch}, step {header.step}")
    return position
