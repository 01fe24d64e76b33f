"""The epoch loop: a run that dies or is stopped anywhere ends as one that was not."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from factories.phases import EPOCHS, STEPS, Recorder, Toy
from sdedge.checkpoint import read_checkpoint, write_checkpoint
from sdedge.errors import InterruptedRunError, RunError
from sdedge.loop import (
    MEASURED,
    Clock,
    EpochEnded,
    Estimated,
    Phase,
    Stepped,
    Stopping,
    run_phase,
)
from sdedge.meters import Meters
from sdedge.run import RunDir

NEVER = 1e9
# Every step, and the evaluation of every epoch.
PLACES = [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS + 1)]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create("toy", tmp_path / "run")


def go(phase: Phase, run: RunDir, *, resume: bool = False, seconds: float = NEVER) -> Recorder:
    recorder = Recorder()
    run_phase(phase, run, recorder, resume=resume, checkpoint_seconds=seconds)
    return recorder


def timeless(run: RunDir) -> list[dict[str, Any]]:
    """The records of the toy, less what depends on the clock."""
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics("toy")
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, RunDir]:
    run = RunDir.create("toy", tmp_path_factory.mktemp("straight"))
    phase = Toy()
    go(phase, run)
    return phase, run


def test_a_run_does_every_step_once_and_logs_every_epoch(straight: tuple[Toy, RunDir]) -> None:
    phase, run = straight
    assert phase.done == [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]
    records = run.read_metrics("toy")
    assert [(record["phase"], record["epoch"]) for record in records] == [("toy", 1), ("toy", 2)]
    assert [record["train_batch"] for record in records] == [1.0, 11.0]
    assert all({"train_loss", "valid_loss", "elapsed_s"} <= record.keys() for record in records)


def test_every_step_and_evaluation_of_every_seed_draws_numbers_of_its_own(tmp_path: Path) -> None:
    draws: list[float] = []

    class Drawing(Toy):
        def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
            draws.append(float(torch.rand(())))
            return {"loss": torch.zeros(())}

        def end_epoch(self, epoch: int) -> dict[str, Any]:
            draws.append(float(torch.rand(())))
            return {}

    for seed in (1, 2):
        phase = Drawing()
        phase.seed = seed
        go(phase, RunDir.create("toy", tmp_path / f"{seed}"))
    assert len(draws) == len(set(draws)) == 2 * EPOCHS * (STEPS + 1)


@pytest.mark.parametrize("seconds", [0.0, NEVER], ids=["each step", "each epoch"])
@pytest.mark.parametrize("at", PLACES)
def test_a_run_that_dies_anywhere_ends_as_one_that_did_not(
    straight: tuple[Toy, RunDir],
    crash_and_resume: Callable[..., tuple[Toy, RunDir]],
    at: tuple[int, int],
    seconds: float,
) -> None:
    resumed, run = crash_and_resume(Toy, at, seconds)
    assert torch.equal(resumed.weights, straight[0].weights)
    assert timeless(run) == timeless(straight[1])
    first = at if seconds == 0 else (at[0], 0)
    assert resumed.done == [step for step in straight[0].done if step >= first]


def test_a_run_that_dies_between_its_record_and_its_checkpoint_logs_the_epoch_once(
    straight: tuple[Toy, RunDir], run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = Toy()

    def no_checkpoint(*_: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch, pytest.raises(ConnectionAbortedError):
        patch.setattr("sdedge.loop.position.write_checkpoint", no_checkpoint)
        go(dying, run)
    assert len(timeless(run)) == 1
    go(Toy(), run, resume=True)
    assert timeless(run) == timeless(straight[1])


class Diverging(Toy):
    """Its numbers get out of hand in one place of its last epoch."""

    def __init__(self, where: str, number: float) -> None:
        super().__init__()
        self.where, self.number = where, number

    def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
        means = super().step(epoch, step, batch)
        if (epoch, step) == PLACES[-2]:  # the very last step
            if self.where == "weights":
                self.weights[1] = self.number
            if self.where == "train_loss":
                return {**means, "loss": torch.tensor(self.number)}
        return means

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        value = super().end_epoch(epoch)
        if epoch == EPOCHS - 1 and self.where == "budget.latency":
            value["budget"] = {"latency": self.number}
        return value


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
@pytest.mark.parametrize("where", ["weights", "train_loss", "budget.latency"])
def test_a_blow_up_in_the_last_step_is_no_result(run: RunDir, where: str, number: float) -> None:
    phase = Diverging(where, number)
    with pytest.raises(RunError) as caught:
        go(phase, run)
    assert f"the toy diverged in epoch {EPOCHS}: {where} is {number}" in str(caught.value)
    assert "lower learning rate" in str(caught.value)
    assert len(run.read_metrics("toy")) == EPOCHS - 1
    assert read_checkpoint(run.checkpoint("toy")).header["records"] == EPOCHS - 1


def test_resuming_a_finished_run_changes_nothing(run: RunDir) -> None:
    go(Toy(), run)
    before = run.read_metrics("toy")
    again = Toy()
    seconds = run_phase(again, run, Recorder(), resume=True, checkpoint_seconds=NEVER)
    assert again.done == []
    assert run.read_metrics("toy") == before
    assert seconds >= before[-1]["elapsed_s"] - 1e-3


def test_a_fresh_start_forgets_an_earlier_run(run: RunDir) -> None:
    class Dying(Toy):
        def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
            raise ConnectionAbortedError

    run.append_metrics({"phase": "search", "epoch": 1})
    go(Toy(), run)
    with pytest.raises(ConnectionAbortedError):
        go(Dying(), run)
    assert run.read_metrics("toy") == []
    assert run.read_metrics("search") == [{"phase": "search", "epoch": 1}]
    resumed = Toy()
    go(resumed, run, resume=True)
    assert len(resumed.done) == EPOCHS * STEPS, "it went on from the earlier run's checkpoint"


class Signalled(Toy):
    """Gets Ctrl-C, really delivered, in one of its steps or in an evaluation."""

    def __init__(self, at: tuple[int, int], times: int = 1) -> None:
        super().__init__()
        self.at, self.times = at, times

    def _ctrl_c(self, epoch: int, step: int) -> None:
        for _ in range(self.times if (epoch, step) == self.at else 0):
            os.kill(os.getpid(), signal.SIGINT)

    def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
        self._ctrl_c(epoch, step)
        return super().step(epoch, step, batch)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        self._ctrl_c(epoch, self.steps)
        return super().end_epoch(epoch)


@pytest.mark.parametrize("at", PLACES[:-1])
def test_ctrl_c_stops_after_the_step_with_a_checkpoint(
    straight: tuple[Toy, RunDir], run: RunDir, at: tuple[int, int]
) -> None:
    stopped, recorder = Signalled(at), Recorder()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRunError) as caught:
        run_phase(stopped, run, recorder, resume=False, checkpoint_seconds=NEVER)
    assert f"sdedge toy --resume --run {run.path}" in str(caught.value)
    assert len(recorder.of(Stopping)) == 1
    assert signal.getsignal(signal.SIGINT) is handler
    assert stopped.done == [step for step in straight[0].done if step <= at]
    resumed = Toy()
    go(resumed, run, resume=True)
    assert stopped.done + resumed.done == straight[0].done
    assert torch.equal(resumed.weights, straight[0].weights)
    assert timeless(run) == timeless(straight[1])


def test_ctrl_c_in_the_last_evaluation_comes_too_late(
    straight: tuple[Toy, RunDir], run: RunDir
) -> None:
    go(Signalled((EPOCHS - 1, STEPS)), run)
    assert timeless(run) == timeless(straight[1])


def test_a_second_ctrl_c_stops_at_once(run: RunDir) -> None:
    handler = signal.getsignal(signal.SIGINT)
    stopped = Signalled((0, 1), times=2)
    with pytest.raises(KeyboardInterrupt):
        go(stopped, run)
    assert stopped.done == [(0, 0)]
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, EPOCHS * (STEPS + 1)), (NEVER, EPOCHS)], ids=["always", "never"]
)
def test_a_checkpoint_is_written_when_it_is_due_and_after_each_epoch(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: int
) -> None:
    written: list[Mapping[str, Any]] = []
    write = write_checkpoint

    def counted(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        written.append(header)
        write(path, tensors, header)

    monkeypatch.setattr("sdedge.loop.position.write_checkpoint", counted)
    go(Toy(), run, seconds=seconds)
    assert len(written) == expected
    assert written[-1]["epoch"] == EPOCHS
    assert written[-1]["records"] == EPOCHS


def test_elapsed_time_is_summed_over_all_starts(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    class Slow(Toy):
        def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
            nonlocal now
            now += 10
            if len(self.done) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(epoch, step, batch)

    with pytest.raises(InterruptedRunError):
        go(Slow(), run)
    now += 5000
    seconds = run_phase(Slow(epochs=1), run, Recorder(), resume=True, checkpoint_seconds=NEVER)
    assert seconds == 30
    assert [record["elapsed_s"] for record in run.read_metrics("toy")] == [30]


def test_a_checkpoint_that_is_none_of_this_phase_is_refused(run: RunDir) -> None:
    save_file({}, run.checkpoint("toy"), metadata={"sdedge": '{"epoch": 1}'})
    with pytest.raises(RunError, match="is not a checkpoint of a toy") as caught:
        go(Toy(), run, resume=True)
    assert str(run.checkpoint("toy")) in str(caught.value)


def test_a_damaged_checkpoint_is_refused_and_kept(run: RunDir) -> None:
    go(Toy(), run)
    path = run.checkpoint("toy")
    path.write_bytes(path.read_bytes()[:-10])
    size, records = path.stat().st_size, run.read_metrics("toy")
    with pytest.raises(RunError, match="delete it to start over"):
        go(Toy(), run, resume=True)
    assert path.stat().st_size == size
    assert run.read_metrics("toy") == records


def test_the_estimate_comes_once_and_leaves_out_the_first_step(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    class Slow(Toy):
        def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
            nonlocal now
            now += 100 if epoch == step == 0 else 2
            return super().step(epoch, step, batch)

        def end_epoch(self, epoch: int) -> dict[str, Any]:
            nonlocal now
            now += 7
            return super().end_epoch(epoch)

    recorder = go(Slow(epochs=3, steps=6), run)
    [estimate] = recorder.of(Estimated)
    assert (estimate.phase, estimate.epochs, estimate.steps) == ("toy", 3, 6)
    assert (estimate.device, estimate.step_seconds) == ("cpu", 2)
    assert estimate.remaining_seconds == 2 * (3 * 6 - 4)  # no evaluation was seen yet
    assert estimate.peak_memory_bytes > 1_000_000
    steps = recorder.of(Stepped)
    assert steps[0].remaining_seconds is None
    assert steps[6].remaining_seconds == 2 * (2 * 6 - 1) + 2 * 7
    assert steps[-1].remaining_seconds == 7


def test_an_epoch_too_short_for_an_estimate_gives_it_in_the_next(run: RunDir) -> None:
    assert len(go(Toy(epochs=3, steps=2), run).of(Estimated)) == 1


def test_the_reporter_hears_of_every_step_and_epoch(run: RunDir) -> None:
    recorder = go(Toy(), run)
    assert [(p.phase, p.epoch, p.step) for p in recorder.of(Stepped)] == [
        ("toy", epoch, step + 1) for epoch in range(EPOCHS) for step in range(STEPS)
    ]
    assert [event.record for event in recorder.of(EpochEnded)] == run.read_metrics("toy")
    assert not recorder.of(Stopping)


def test_a_clock_measures_nothing_but_steps_and_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock(Toy(epochs=2, steps=5))
    for seconds in (50.0, 1.0, 3.0):
        now += 1000  # a checkpoint, say
        clock.start()
        now += seconds
        clock.stepped(0)
    assert clock.step_seconds == 2
    assert clock.remaining(0, 3) == 2 * 7


def test_cheaper_epochs_are_estimated_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    class Halved(Toy):
        def relative_cost(self, epoch: int) -> float:
            return 0.5 if epoch == 0 else 1.0

    clock = Clock(Halved(epochs=3, steps=10))
    for _ in range(3):
        now += 4
        clock.stepped(0)
    assert clock.step_seconds == 8
    assert clock.remaining(0, 3) == 7 * 4 + 20 * 8
    assert clock.remaining(2, 10) == 0


def test_meters_give_the_weighted_mean() -> None:
    meters = Meters()
    meters.add({"loss": torch.tensor(1.0), "hits": torch.tensor(0.25)}, weight=250)
    meters.add({"loss": torch.tensor(4.0), "hits": torch.tensor(1.0)}, weight=50)
    assert meters.means() == {"loss": 1.5, "hits": 0.375}


def test_meters_keep_a_long_sum_exact() -> None:
    meters = Meters()
    for _ in range(20_000):
        meters.add({"loss": torch.tensor(0.1)})
    assert meters.means()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_meters_go_on_after_a_checkpoint() -> None:
    meters, restored = Meters(), Meters()
    meters.add({"loss": torch.tensor(1.0)}, weight=3)
    restored.load(meters.tensors(), torch.device("cpu"))
    for each in (meters, restored):
        each.add({"loss": torch.tensor(2.0)}, weight=1)
    assert meters.means() == restored.means() == {"loss": 1.25}


def test_a_checkpoint_says_what_it_is(run: RunDir) -> None:
    go(Toy(), run)
    header = read_checkpoint(run.checkpoint("toy")).header
    assert (header["phase"], header["epoch"], header["step"]) == ("toy", EPOCHS, 0)


def test_divergence_is_told_and_not_logged(run: RunDir) -> None:
    class Diverging(Toy):
        def step(self, epoch: int, step: int, batch: Tensor) -> Mapping[str, Tensor]:
            super().step(epoch, step, batch)
            return {"loss": torch.tensor(float("nan"))}

    with pytest.raises(RunError, match="diverged in epoch 1"):
        go(Diverging(), run)
    assert run.read_metrics("toy") == []
