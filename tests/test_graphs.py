"""Steps that a graph repeats, with a stand-in that records torch's operations on the CPU."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

from sdedge.cli.main import app
from sdedge.config import SearchConfig, TrainConfig
from sdedge.data.dataset import Dataset
from sdedge.device import seed_step
from sdedge.errors import ConfigError
from sdedge.events import Reporter
from sdedge.genotype import published
from sdedge.graphs import CudaGraphs, Step, rate_settings, select_graphs, set_rate
from sdedge.loop import Phase
from sdedge.nas.check import check_search
from sdedge.nas.phase import SearchPhase
from sdedge.nas.runner import run_search
from sdedge.run import RunDir
from sdedge.training.phase import TrainPhase, check_training

WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


class Recorder(TorchDispatchMode):
    """Notes every operation with the very tensors and numbers it is given, as a graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func not in WAITS, f"{func} waits for the device"
        outputs = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, outputs))
        return outputs

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, outputs in self.operations:
            again = func(*args, **kwargs)
            for place, value in zip(tree_leaves(outputs), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and not _same_memory(place, value):
                    place.copy_(value)


def _same_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


class FakeGraphs(CudaGraphs):
    """Recording does the first step, so that the first replay has nothing left to do."""

    def __init__(self) -> None:
        self.warm_ups = self.records = self.replays = 0

    def warm_up(self, function: Callable[[], Any]) -> Any:
        self.warm_ups += 1
        return function()

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        self.records += 1
        recorder = Recorder()
        with recorder:
            outputs = function()
        calls = iter(range(1_000_000))

        def replay() -> Any:
            self.replays += 1
            if next(calls):
                recorder.repeat()
            return outputs

        return replay


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGraphs:
    """Graphs on the CPU, and optimizers as on a GPU: fused, with a tensor for their rate.

    With one warm-up, two epochs of two steps replay under a rate that was not recorded.
    """
    graphs = FakeGraphs()

    def select(wanted: bool, device: torch.device) -> CudaGraphs | None:
        return graphs if wanted else None

    def settings(device: torch.device, rate: float) -> dict[str, Any]:
        return {"lr": torch.tensor(rate), "fused": True}

    monkeypatch.setattr("sdedge.graphs._WARM_UP", 1)
    for module in ("sdedge.nas.check", "sdedge.nas.phase", "sdedge.training.phase"):
        monkeypatch.setattr(f"{module}.select_graphs", select)
    for module in ("sdedge.nas.bilevel", "sdedge.training.phase"):
        monkeypatch.setattr(f"{module}.rate_settings", settings)
    return graphs


def search(dataset: Dataset, **settings: Any) -> SearchPhase:
    defaults = {
        "device": "cpu",
        "epochs": 2,
        "batch_size": 4,
        "epoch_images": 8,
        "valid_images": 4,
        "channels": 2,
        "cells": 3,
        "patch_size": 4,
        "alpha_lr": 0.05,
        "weight_lr": 0.1,
    }
    return SearchPhase(SearchConfig(**{**defaults, **settings}), dataset)


def train(dataset: Dataset, **settings: Any) -> TrainPhase:
    defaults = {
        "device": "cpu",
        "epochs": 2,
        "batch_size": 8,
        "channels": 2,
        "cells": 3,
        "lr": 0.1,
        "cutout": 4,
        "auxiliary": False,
        "ema_decay": 0.9,
    }
    config = TrainConfig(**{**defaults, **settings})
    return TrainPhase(config, published()["DARTS_V2"].genotype, dataset)


def drive(phase: Phase) -> list[dict[str, Tensor]]:
    """All steps of all epochs, and what each of them logs."""
    logged = []
    for epoch in range(phase.epochs):
        phase.begin_epoch(epoch)
        for step, batch in enumerate(phase.batches(epoch, 0)):
            seed_step(phase.seed, phase.name, epoch, step)
            logged.append(dict(phase.step(epoch, step, batch)))
    return logged


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_plain_step_is_the_function_itself() -> None:
    x = torch.ones(2)
    assert Step(lambda given: given, None)(x) is x


def test_a_graph_reads_its_own_copy_of_the_inputs_and_its_outputs_are_kept() -> None:
    graphs, total, seen = FakeGraphs(), torch.zeros(2), []

    def add(batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch)
        total.add_(batch[0] * batch[1])
        return total * 1

    step = Step(add, graphs)
    given = [(torch.full((2,), float(n)), torch.full((2,), 2.0)) for n in range(1, 7)]
    sums = [float(step(batch)[0]) for batch in given]
    assert sums == [2.0, 6.0, 12.0, 20.0, 30.0, 42.0]
    assert (graphs.warm_ups, graphs.records, graphs.replays) == (3, 1, 3)
    assert len(seen) == 4, "the function ran while a graph was to be replayed"
    assert all(batch is not held for batch in given for held in seen[3:])
    assert float(given[3][0][0]) == 4.0, "the caller's batch was written to"
    first = step(given[0])
    step(given[1])
    assert float(first[0]) == 44.0


def test_a_forgotten_graph_is_warmed_up_and_recorded_anew() -> None:
    graphs, scale = FakeGraphs(), 1.0
    step = Step(lambda x: x * scale, graphs)
    for _ in range(5):
        step(torch.ones(()))
    scale = 3.0
    assert float(step(torch.ones(()))) == 1.0, "the stand-in keeps Python's numbers, as a graph"
    step.forget()
    assert [float(step(torch.ones(()))) for _ in range(5)] == [3.0] * 5
    assert (graphs.warm_ups, graphs.records) == (6, 2)


def test_a_graph_refuses_a_batch_of_another_shape() -> None:
    step = Step(lambda x: x * 1, FakeGraphs())
    for _ in range(4):
        step(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"a tensor \(3, 2\) cannot run on one of \(1, 2\)"):
        step(torch.ones(1, 2))  # copy_ would spread it
    step.forget()
    assert step(torch.ones(1, 2)).shape == (1, 2)


def test_what_waits_for_the_device_is_noticed() -> None:
    step = Step(lambda x: torch.full((), float(x)), FakeGraphs())
    for _ in range(3):
        step(torch.ones(()))
    with pytest.raises(AssertionError, match="waits for the device"):
        step(torch.ones(()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "alpha_steps"),
    [
        ({"alpha_warmup": 0.3, "epochs": 3}, 4),
        ({"strategy": "darts-2nd", "task": "classification", "impl": "reference"}, 4),
    ],
    ids=["semantic", "second order"],
)
def test_a_search_by_graph_moves_what_the_plain_one_moves(
    tiny_dataset: Dataset, fake: FakeGraphs, settings: dict[str, Any], alpha_steps: int
) -> None:
    plain = search(tiny_dataset, **settings)
    graphed = search(tiny_dataset, cuda_graphs=True, **settings)
    assert all(map(same, drive(graphed), drive(plain)))
    assert same(graphed.state(), plain.state())
    assert (fake.records, fake.replays) == (2, alpha_steps - 1 + 2 * plain.epochs - 1)


@pytest.mark.parametrize(("drop_path", "records"), [(0.0, 1), (0.4, 2)])
def test_a_training_by_graph_moves_what_the_plain_one_moves(
    tiny_dataset: Dataset, fake: FakeGraphs, drop_path: float, records: int
) -> None:
    plain = train(tiny_dataset, drop_path=drop_path)
    graphed = train(tiny_dataset, drop_path=drop_path, cuda_graphs=True)
    start = {name: tensor.clone() for name, tensor in graphed.state().items()}
    assert all(map(same, drive(graphed), drive(plain)))
    assert same(graphed.state(), plain.state())
    assert (fake.records, fake.replays) == (records, 6 - records)
    for phase in (graphed, plain):
        phase.load_state(start, Path("here"))
    assert all(map(same, drive(graphed), drive(plain)))
    assert same(graphed.state(), plain.state())


@pytest.mark.parametrize(
    ("make", "cuda_graphs"),
    [pytest.param(search, True, marks=pytest.mark.slow), (train, True), (train, False)],
)
def test_a_run_by_graph_resumes_to_the_bit(
    tiny_dataset: Dataset,
    fake: FakeGraphs,
    crash_and_resume: Callable[..., tuple[Any, RunDir]],
    make: Callable[..., Any],
    cuda_graphs: bool,
) -> None:
    straight = make(tiny_dataset, cuda_graphs=True)
    drive(straight)
    resumed, _ = crash_and_resume(partial(make, tiny_dataset, cuda_graphs=cuda_graphs), (1, 1), 0.0)
    assert same(resumed.state(), straight.state())


@pytest.mark.slow
def test_the_record_of_a_run_says_how_its_steps_ran(
    tiny_dataset: Dataset, fake: FakeGraphs, reporter: Reporter, tmp_path: Path
) -> None:
    written = []
    for name, wanted in (("eager", False), ("cuda graphs", True)):
        run = RunDir.create("search", tmp_path / name)
        run_search(search(tiny_dataset, cuda_graphs=wanted, epochs=1), run, reporter)
        written.append(json.loads((run.path / "environment.json").read_text())["search"])
        assert written[-1]["step"] == name
    assert written[0]["kernels"] == written[1]["kernels"]


def test_graphs_are_refused_on_the_cpu() -> None:
    cpu = torch.device("cpu")
    assert select_graphs(False, cpu) is None
    for check in (
        lambda: select_graphs(True, cpu),
        lambda: check_search(SearchConfig(device="cpu", cuda_graphs=True)),
        lambda: check_training(TrainConfig(device="cpu", cuda_graphs=True)),
    ):
        with pytest.raises(ConfigError, match="the device is cpu: CUDA graphs need a CUDA device"):
            check()


@pytest.mark.parametrize("command", [["search"], ["train", "--genotype", "DARTS_V2"]])
def test_the_command_line_refuses_graphs_on_the_cpu(command: list[str]) -> None:
    arguments = [*command, "--dataset", "shapes", "--device", "cpu", "--cuda-graphs"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "cuda_graphs is on, but the device is cpu" in result.output


def test_a_rate_changes_in_place_where_it_is_a_tensor() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    plain = torch.optim.SGD([weight], **rate_settings(torch.device("cpu"), 0.5))
    assert plain.param_groups[0]["lr"] == 0.5
    assert not plain.param_groups[0]["fused"]
    set_rate(plain, 0.25)
    assert plain.param_groups[0]["lr"] == 0.25
    rate = torch.tensor(0.5)
    fused = torch.optim.SGD([weight], lr=rate, fused=True)
    set_rate(fused, 0.25)
    assert fused.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25
