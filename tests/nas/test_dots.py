"""DOTS: two softmaxes an edge, then a softmax over pairs of edges, and what comes of it."""

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.bilevel import batches, build
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.events import Reporter
from sdedge.loop import run_phase
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.scalars import ScheduledScalars
from sdedge.nas.stages import StagedSearch, build_search
from sdedge.nas.strategies.dots import (
    DOTS,
    TEMPERATURE,
    best_of_each_group,
    best_pairs,
    falling_temperature,
    grouped_softmax,
    mixed_pairs,
    two_stages,
    zeros_and_pairs,
)
from sdedge.nas.strategy import OperationMask, Strategy
from sdedge.operations import DARTS_OPERATIONS, get_operation
from sdedge.run import RunDir
from sdedge.space.darts.derive import derive_darts
from sdedge.space.spaces import SPACES

FREE = [k for k, name in enumerate(DARTS_OPERATIONS) if not get_operation(name).has_weights]
CONVOLUTIONS = [k for k in range(8) if k not in FREE]


def random_alphas() -> dict[str, Tensor]:
    """Those of the topology search, some way from their start."""
    torch.manual_seed(0)
    start = zeros_and_pairs(SPACES["darts"], torch.device("cpu"))
    size = {1: 1.0, 2: 1e-3}  # of pairs, and of operations, which have a colder softmax
    return {
        name: size[alpha.ndim] * torch.randn_like(alpha, dtype=torch.float64)
        for name, alpha in start.items()
    }


def two_an_edge(alphas: Mapping[str, Tensor]) -> OperationMask:
    """A random choice of one operation of each group."""
    weights = {name: torch.rand_like(alpha) for name, alpha in alphas.items() if alpha.ndim == 2}
    return best_of_each_group(weights)


def masked_alphas(alphas: Mapping[str, Tensor], mask: OperationMask) -> dict[str, Tensor]:
    masked = {n: alphas[n].masked_fill(~m, -torch.inf) for n, m in mask.items()}
    return {**alphas, **masked}


def at(temperature: float) -> ScheduledScalars:
    return ScheduledScalars({TEMPERATURE: torch.tensor(temperature, dtype=torch.float64)})


def topology() -> Strategy:
    _, second = two_stages(SearchConfig())
    assert second.vary
    return second.vary(DOTS)


def test_each_group_of_operations_has_a_softmax_of_its_own() -> None:
    alphas = {kind: torch.randn(14, 8, dtype=torch.float64) for kind in ("normal", "reduce")}
    for kind, weights in grouped_softmax(alphas).items():
        for group in (FREE, CONVOLUTIONS):
            powers = alphas[kind][:, group].exp()
            torch.testing.assert_close(weights[:, group], powers / powers.sum(dim=1, keepdim=True))


def test_one_operation_of_each_group_survives_and_none_never_does() -> None:
    torch.manual_seed(0)
    weights = {"normal": torch.rand(14, 8)}
    weights["normal"][::2, 0] = 2  # `none` is the strongest of all
    kept = best_of_each_group(weights)["normal"]
    for row, mask in zip(weights["normal"].tolist(), kept.tolist(), strict=True):
        free = max(FREE[1:], key=lambda k: row[k])
        convolution = max(CONVOLUTIONS, key=lambda k: row[k])
        assert [k for k in range(8) if mask[k]] == [free, convolution]


def test_an_edge_weighs_as_much_as_the_pairs_that_hold_it() -> None:
    alphas = random_alphas()
    counts = [alphas[f"normal_pairs_{node}"].numel() for node in range(4)]
    assert counts == [1, 3, 6, 10]
    mask = two_an_edge(alphas)
    weights = mixed_pairs(masked_alphas(alphas, mask), at(0.7))
    for kind in ("normal", "reduce"):
        first = 0
        for node in range(4):
            pairs = list(combinations(range(2 + node), 2))
            shares = (alphas[f"{kind}_pairs_{node}"] / 0.7).softmax(dim=0)
            assert float(shares.sum()) == pytest.approx(1)
            for edge in range(2 + node):
                expected = sum(
                    float(p) for p, pair in zip(shares, pairs, strict=True) if edge in pair
                )
                assert float(weights[kind][first + edge].sum()) == pytest.approx(expected)
            first += 2 + node
        within = weights[kind] / weights[kind].sum(dim=1, keepdim=True)
        logits = masked_alphas(alphas, mask)[kind] / (1e-3 * 0.7)
        torch.testing.assert_close(within, logits.softmax(dim=1))
        assert not weights[kind][~mask[kind]].any()


def test_the_temperature_falls_once_alpha_learns() -> None:
    temperature = falling_temperature(0.5)
    assert [temperature(epoch, 40) for epoch in (0, 19, 20)] == [10, 10, 10]
    assert temperature(39, 40) == pytest.approx(0.02)
    steps = [temperature(epoch + 1, 40) / temperature(epoch, 40) for epoch in range(20, 39)]
    assert steps == pytest.approx([(0.02 / 10) ** (1 / 19)] * 19)
    assert falling_temperature(0.5)(0, 1) == 10


def test_the_derived_cell_has_the_best_pairs_and_the_stronger_operations() -> None:
    alphas = random_alphas()
    with torch.no_grad():  # the two strongest edges, 2 and 3, are not the best pair
        alphas["reduce_pairs_3"] = torch.log(
            torch.tensor([0.3, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.22, 0.21, 0.21])
        ).double()
    mask = two_an_edge(alphas)
    masked = masked_alphas(alphas, mask)
    cell = derive_darts(best_pairs(masked))
    for kind, edges in (("normal", cell.normal), ("reduce", cell.reduce)):
        for node in range(4):
            pairs = list(combinations(range(2 + node), 2))
            best = pairs[int(alphas[f"{kind}_pairs_{node}"].argmax())]
            first = node * (node + 3) // 2
            expected = {
                (DARTS_OPERATIONS[int(masked[kind][first + source].argmax())], source)
                for source in best
            }
            assert set(edges[2 * node : 2 * node + 2]) == expected
    assert {source for _, source in cell.reduce[6:]} == {0, 1}


def test_what_is_derived_is_what_mixes_at_the_end_and_pairs_get_gradients() -> None:
    alphas = {name: alpha.requires_grad_() for name, alpha in random_alphas().items()}
    hard, soft = best_pairs(alphas), mixed_pairs(alphas, at(1.0))
    cold = mixed_pairs(alphas, at(1e-3))
    for kind in ("normal", "reduce"):
        torch.testing.assert_close(hard[kind].sum(dim=1), cold[kind].sum(dim=1))
        slopes = torch.rand(14, dtype=torch.float64)
        some = [alphas[f"{kind}_pairs_{node}"] for node in range(1, 4)]
        found = torch.autograd.grad((hard[kind].sum(dim=1) * slopes).sum(), some)
        expected = torch.autograd.grad((soft[kind].sum(dim=1) * slopes).sum(), some)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("epochs", [70, 7, 1])
def test_operations_take_three_sevenths_of_the_epochs(epochs: int) -> None:
    first, second = two_stages(SearchConfig(epochs=epochs))
    assert (first.epochs, second.epochs) == {70: (30, 40), 7: (3, 4), 1: (1, 1)}[epochs]
    assert DOTS.settings["epochs"] == 70


def test_the_topology_search_moves_the_alphas_of_its_pairs_and_of_what_is_left() -> None:
    plain = build("dots", "classification", torch.float64)
    alphas = {name: alpha.requires_grad_() for name, alpha in random_alphas().items()}
    mask = two_an_edge(alphas)
    strategy = topology()
    assert strategy.single_level
    bilevel = Bilevel(
        plain.supernet, plain.task, alphas, strategy, SearchConfig(), operation_mask=mask
    )
    bilevel.begin_epoch(0, 2)
    train, _ = batches(bilevel)
    gradients = strategy.alpha_gradient(bilevel, train, train)
    for (name, alpha), gradient in zip(alphas.items(), gradients, strict=True):
        if alpha.ndim == 1:
            assert bool(gradient.any()) == (alpha.numel() > 1)  # one pair alone has no rival
        else:
            assert torch.equal(gradient.ne(0), mask[name])


def staged(dataset: Dataset) -> StagedSearch:
    settings: dict[str, Any] = {
        "strategy": "dots",
        "task": "classification",
        "channels": 2,
        "cells": 3,
        "epochs": 2,
        "batch_size": 4,
        "epoch_images": 8,
        "valid_images": 4,
        "alpha_lr": 0.1,
        "alpha_warmup": 0.0,
        "device": "cpu",
    }
    phase = build_search(SearchConfig(**settings), dataset)
    assert isinstance(phase, StagedSearch)
    return phase


@pytest.mark.slow
def test_a_search_that_dies_in_the_second_stage_ends_as_one_that_did_not(
    tiny_dataset: Dataset,
    reporter: Reporter,
    crash_and_resume: Callable[..., tuple[StagedSearch, RunDir]],
    tmp_path: Path,
) -> None:
    whole = staged(tiny_dataset)
    run = RunDir.create("s", tmp_path / "straight")
    run_phase(whole, run, reporter, resume=False, checkpoint_seconds=1e9)
    resumed, _ = crash_and_resume(lambda: staged(tiny_dataset), (1, 1), 0.0)
    ended, again = whole.state(), resumed.state()
    assert ended.keys() == again.keys()
    assert all(torch.equal(ended[name], again[name]) for name in ended)
    assert [record["stage"] for record in run.read_metrics("search")] == [1, 2]
    held = {int(n) for mask in (whole.mask or {}).values() for n in mask.sum(dim=1)}
    assert held == {2}
