"""RobustDARTS's drop path, and its search that goes back and decays more."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories.bilevel import batches, build
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import ConfigError, RunError
from sdedge.events import Reporter
from sdedge.kernels import Impl, chosen, dispatch
from sdedge.loop import MEASURED, run_phase
from sdedge.nas.adaptive import AdaptiveSearch
from sdedge.nas.scalars import DROP_PATH
from sdedge.nas.stages import build_search
from sdedge.nas.strategies import get_strategy
from sdedge.run import RunDir
from sdedge.space.dropout import output_of
from sdedge.space.spaces import SPACES

# Drop path


def test_drop_path_grows_from_nothing_to_a_fifth() -> None:
    share = get_strategy("robust-dp").schedules[DROP_PATH]
    assert [share(epoch, 50) for epoch in (0, 49)] == pytest.approx([0.0, 0.2])
    assert share(20, 50) == pytest.approx(0.2 * 20 / 49)
    assert share(0, 1) == 0.0


def test_whole_samples_of_an_operation_are_dropped_and_the_others_scaled() -> None:
    torch.manual_seed(0)
    operation = nn.Conv2d(2, 3, 1).double()
    x = torch.randn(4000, 2, 3, 3, dtype=torch.float64)
    share = torch.tensor(0.25, dtype=torch.float64)
    whole, found = operation(x), output_of(operation, x, None, share)
    kept = found[:, 0, 0, 0] != 0
    torch.testing.assert_close(found[kept], whole[kept] / 0.75)
    assert not found[~kept].any()
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(output_of(nn.Identity(), x, None, share), x)
    assert torch.equal(output_of(operation, x, share, None), whole)


def spread(epoch: int, space: str, *, training: bool) -> float:
    """How much the loss of one batch differs between two passes."""
    bilevel = build("robust-dp", "classification", torch.float64, space=space, cells=3)
    bilevel.begin_epoch(epoch, 10)
    bilevel.supernet.train(training)
    train, _ = batches(bilevel)
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(float(bilevel.loss(train).total.detach()))
    return abs(losses[0] - losses[1])


@pytest.mark.parametrize("space", SPACES)
def test_only_training_drops_and_not_in_the_first_epoch(space: str) -> None:
    assert spread(9, space, training=True) > 1e-4
    assert spread(0, space, training=True) == 0
    assert spread(9, space, training=False) == 0


@pytest.mark.parametrize("space", SPACES)
def test_with_drop_path_the_plain_supernet_runs_and_computes_what_it_would(space: str) -> None:
    def losses(impl: Impl) -> tuple[Tensor, ...]:
        bilevel = build("robust-dp", "classification", torch.float64, space=space, impl=impl)
        bilevel.begin_epoch(9, 10)
        train, search = batches(bilevel)
        torch.manual_seed(4)
        dispatch.reset()
        bilevel.alpha_step(train, search)
        total = bilevel.weight_step(train).total
        assert chosen()["supernet"] == "reference"
        return total, *bilevel.alpha_list, *(weight.detach() for weight in bilevel.weight_list)

    plain, fused = losses("reference"), losses("auto")
    assert all(map(torch.equal, plain, fused))


@pytest.mark.parametrize("space", SPACES)
def test_evaluation_is_fused_and_drops_nothing(space: str) -> None:
    values = []
    for name in ("robust-dp", "darts"):
        bilevel = build(name, "classification", torch.float64, space=space, impl="auto")
        bilevel.begin_epoch(9, 10)
        bilevel.supernet.eval()
        dispatch.reset()
        values.append(bilevel.loss(batches(bilevel)[0]).total)
        assert chosen()["supernet"] != "reference"
    assert torch.equal(*values)


# Adaptive


def adaptive(dataset: Dataset, **changes: Any) -> AdaptiveSearch:
    """12 epochs whose eigenvalue rises in the eleventh, whatever the weights are."""
    settings: dict[str, Any] = {
        "strategy": "robust-ada",
        "task": "classification",
        "space": "nas-bench-201",
        "channels": 2,
        "cells": 1,
        "epochs": 12,
        "alpha_warmup": 0.0,
        "batch_size": 4,
        "epoch_images": 4,
        "valid_images": 4,
        "device": "cpu",
    }
    phase = build_search(SearchConfig(**{**settings, **changes}), dataset)
    assert isinstance(phase, AdaptiveSearch)

    def risen(_: Any, epoch: int, __: Any) -> dict[str, float]:
        return {} if epoch % 2 else {"alpha_eigenvalue": 9.0 if epoch >= 10 else 1.0}

    phase.bilevel.strategy = replace(phase.bilevel.strategy, measure=risen)
    return phase


def run_epochs(phase: AdaptiveSearch) -> Iterator[dict[str, Any]]:
    epoch = 0
    while epoch < phase.epochs:
        phase.begin_epoch(epoch)
        for step, batch in enumerate(phase.batches(epoch, 0)):
            torch.manual_seed(1000 * epoch + step)
            phase.step(epoch, step, batch)
        yield phase.end_epoch(epoch)
        epoch += 1


def searched(phase: AdaptiveSearch) -> dict[str, Tensor]:
    """What a search without a way back would store."""
    names = ("supernet/", "task/", "alpha/", "weight_optimizer/", "alpha_optimizer/")
    return {n: t.clone() for n, t in phase.state().items() if n.startswith(names)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_the_search_goes_back_bit_for_bit_and_on_with_ten_times_the_decay(
    tiny_dataset: Dataset,
) -> None:
    phase = adaptive(tiny_dataset)
    records, states = [], []
    for record in run_epochs(phase):
        records.append(record)
        states.append(searched(phase))
    # It measures in epochs 1, 3, ..., 11 of the schedule; four measurements before 11 is 3.
    first, second = [*range(1, 12)], [*range(4, 12)]
    assert [r["schedule_epoch"] for r in records] == [*first, *second, *range(4, 13)]
    backs = {n: r["went_back_to"] for n, r in enumerate(records) if "went_back_to" in r}
    assert backs == {10: 3, 18: 3}
    for went in backs:
        assert same(states[went], states[2])
    assert not same(states[9], states[2])
    decays = [r["weight_decay"] for r in records]
    assert decays == pytest.approx([3e-4] * 11 + [3e-3] * 8 + [0.03] * 9)
    # The second time it is the same epoch, from the same state, under another decay.
    assert not same(states[11], states[3])


def test_batches_and_schedules_follow_the_epoch_that_it_went_back_to(tiny_dataset: Dataset) -> None:
    phase = adaptive(tiny_dataset)
    seen = []
    for _ in zip(range(12), run_epochs(phase), strict=False):
        rate = phase.bilevel.weight_optimizer.param_groups[0]["lr"]
        seen.append(float(rate))
    assert seen[11] == seen[3] > seen[10]
    assert phase.epochs == 20

    def images(epoch: int) -> Tensor:
        (train, _), _ = next(phase.batches(epoch, 0))
        return torch.as_tensor(train)

    assert torch.equal(images(12), next(adaptive(tiny_dataset).batches(4, 0))[0][0])


def once_back(dataset: Dataset) -> AdaptiveSearch:
    """A search whose decay can grow once."""
    return adaptive(dataset, weight_decay=0.01)


def logged(run: RunDir) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics("search")
    ]


@pytest.fixture(scope="module")
def straight(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    phase, run = once_back(tiny_dataset), RunDir.create("s", tmp_path_factory.mktemp("straight"))
    run_phase(phase, run, reporter, resume=False, checkpoint_seconds=600)
    return phase.state(), logged(run)


@pytest.mark.slow
@pytest.mark.parametrize("at", [(9, 0), (13, 0)], ids=["before it goes back", "after"])
def test_a_search_that_goes_back_resumes_bit_for_bit(
    tiny_dataset: Dataset,
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]],
    crash_and_resume: Callable[..., tuple[AdaptiveSearch, RunDir]],
    at: tuple[int, int],
) -> None:
    resumed, run = crash_and_resume(lambda: once_back(tiny_dataset), at, 600)
    state, records = straight
    assert same(resumed.state(), state)
    assert logged(run) == records
    assert [record["epoch"] for record in records] == [*range(1, 21)]
    assert records[-1]["schedule_epoch"] == 12


def test_a_checkpoint_of_another_strategy_is_refused(tiny_dataset: Dataset) -> None:
    phase = adaptive(tiny_dataset)
    with pytest.raises(RunError, match="other is not of a search with robust-ada"):
        phase.load_state(searched(phase), Path("other"))


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.03, 0.1])
def test_where_the_decay_cannot_grow_nothing_goes_back(tiny_dataset: Dataset, decay: float) -> None:
    assert len(list(run_epochs(adaptive(tiny_dataset, weight_decay=decay)))) == 12


def test_during_the_alpha_warmup_nothing_goes_back(
    tiny_dataset: Dataset,
) -> None:
    assert len(list(run_epochs(adaptive(tiny_dataset, alpha_warmup=0.99)))) == 12


def test_what_it_does_not_combine_with() -> None:
    for name in ("robust-ada+p-darts", "robust-ada+robust-es", "robust-ada+darts-plus"):
        with pytest.raises(ConfigError, match="combine"):
            get_strategy(name)
