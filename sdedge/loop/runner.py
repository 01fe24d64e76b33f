"""Run a phase epoch by epoch: seed every step, save, log, measure, and stop on Ctrl-C."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sdedge.device import explain_out_of_memory, peak_memory_bytes, reset_peak_memory, seed_step
from sdedge.errors import InterruptedRunError, RunError
from sdedge.events import Reporter
from sdedge.interrupt import stop_on_signal
from sdedge.loop.clock import Clock
from sdedge.loop.events import EpochEnded, Estimated, Stepped, Stopping
from sdedge.loop.phase import Phase
from sdedge.loop.position import Position, restore_position, save_position
from sdedge.meters import Meters
from sdedge.run import RunDir
from sdedge.schema import not_finite

# What the records of equal runs may differ in.
MEASURED = ("elapsed_s", "peak_memory_bytes")


def run_phase(
    phase: Phase, run: RunDir, reporter: Reporter, *, resume: bool, checkpoint_seconds: float
) -> float:
    """Run `phase` to its end and give the seconds it took, those before a resume included.

    Raises InterruptedRunError after a checkpoint when a signal asks to stop, and RunError when a
    checkpoint cannot be read or written, or numbers of an epoch are not finite. Whoever calls this
    holds the lock of `run`.
    """
    if resume:
        position = restore_position(phase, run)
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
        save_position(phase, run, position)
        saved = time.monotonic()

    with stop_on_signal(lambda: reporter(Stopping())) as stop, explain_out_of_memory(phase.device):
        while _continues(phase, run, position):
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
            reporter(EpochEnded(record))
            if stop.is_set() and _continues(phase, run, position):
                raise _interrupted(phase, run)
    return position.elapsed_seconds


def _continues(phase: Phase, run: RunDir, position: Position) -> bool:
    return position.epoch < phase.epochs and not phase.ended(
        run.read_metrics(phase.name, phase.record_type)
    )


def _interrupted(phase: Phase, run: RunDir) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped and saved; resume with: sdedge {phase.name} --resume --run {run.path}"
    )


def _measure(phase: Phase, clock: Clock, position: Position, reporter: Reporter) -> None:
    if clock.warming and phase.device.type == "cuda":
        torch.cuda.synchronize(phase.device)
    clock.stepped(position.epoch)
    remaining = clock.remaining(position.epoch, position.step)
    if clock.due and remaining is not None and clock.step_seconds is not None:
        reporter(
            Estimated(
                phase=phase.name,
                epochs=phase.epochs,
                steps=phase.steps,
                step_seconds=clock.step_seconds,
                remaining_seconds=remaining,
                peak_memory_bytes=peak_memory_bytes(phase.device),
                device=str(phase.device),
            )
        )
    reporter(
        Stepped(
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
