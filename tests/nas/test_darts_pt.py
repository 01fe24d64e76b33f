"""DARTS-PT: what is removed, what is kept, when, and that trying leaves nothing behind."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.bilevel import batches, build
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import RunError
from sdedge.events import Reporter
from sdedge.loop import MEASURED, run_phase
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.fixed_weights import UNDECIDED
from sdedge.nas.stages import StagedSearch, build_search
from sdedge.nas.strategies.darts_pt import (
    DARTS_PT,
    decide_by_removal,
    decide_operation,
    decide_topology,
    edges_of_nodes,
    search_and_decide,
)
from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.run import RunDir
from sdedge.space.darts.derive import derive_darts
from sdedge.space.nasbench201.cell import Nb201Cell
from sdedge.space.spaces import SPACES
from sdedge.space.supernet import MixingWeights

NODES = edges_of_nodes(SPACES["darts"])


def deciding(**settings: Any) -> Bilevel:
    """The second stage of a search in float64, at random alphas."""
    plain = build("darts-pt", "classification", torch.float64, **settings)
    config = SearchConfig(strategy="darts-pt", **settings)
    _, stage = search_and_decide(config)
    assert stage.vary
    return Bilevel(plain.supernet, plain.task, plain.alphas, stage.vary(DARTS_PT), config)


def worth_of(bilevel: Bilevel) -> dict[str, Tensor]:
    """What each operation of each edge is worth to a made-up score, at random."""
    torch.manual_seed(3)
    return {kind: torch.rand_like(decided) for kind, decided in bilevel.fixed_weights.items()}


def sum_of_worth(worth: Mapping[str, Tensor], weights: MixingWeights) -> float:
    """A score that every operation in the mixture adds to."""
    return sum(float((worth[kind] * weights[kind].gt(0)).sum()) for kind in worth)


def untouched(decided: Tensor, edges: list[int]) -> bool:
    return bool((decided[edges] == UNDECIDED).all())


def test_only_a_strategy_that_decides_has_decisions() -> None:
    assert not build().fixed_weights
    decided = deciding().fixed_weights
    assert set(decided) == {"normal", "reduce"}
    assert all(untouched(matrix, list(range(14))) for matrix in decided.values())


def test_an_edge_keeps_the_operation_whose_removal_hurts_most() -> None:
    bilevel = deciding()
    before = {kind: w.detach() for kind, w in bilevel.mixing_weights().items()}
    tried: list[MixingWeights] = []
    worth = worth_of(bilevel)

    def score(weights: MixingWeights) -> float:
        tried.append(weights)
        return sum_of_worth(worth, weights)

    worth["normal"][5, 0] = 9  # but `none` is never kept
    decide_operation(bilevel, "normal", 5, score)
    assert len(tried) == 7
    for k, weights in enumerate(tried, 1):  # one weight is 0, and the others are as they were
        changed = (weights["normal"] != before["normal"]).nonzero().tolist()
        assert changed == [[5, k]]
        assert float(weights["normal"][5, k].detach()) == 0
        assert torch.equal(weights["reduce"], before["reduce"])
    best = int(worth["normal"][5, 1:].argmax()) + 1
    after = bilevel.mixing_weights()
    one = torch.zeros(8, dtype=torch.float64)
    one[best] = 1
    assert torch.equal(after["normal"][5], one)
    others = [edge for edge in range(14) if edge != 5]
    assert untouched(bilevel.fixed_weights["normal"], others)
    assert torch.equal(after["normal"][others], before["normal"][others])
    assert torch.equal(after["reduce"], before["reduce"])


def test_a_node_drops_one_by_one_the_edges_whose_removal_hurts_least() -> None:
    bilevel = deciding()
    for decided in bilevel.fixed_weights.values():
        decided.zero_()[:, 4] = 1
    worth = worth_of(bilevel)
    score = partial(sum_of_worth, worth)
    node = NODES[-1]
    assert node == [9, 10, 11, 12, 13]
    decide_topology(bilevel, "reduce", node, score)
    left = [edge for edge in node if bilevel.mixing_weights()["reduce"][edge].any()]
    strongest = worth["reduce"][node, 4].topk(2).indices
    assert left == sorted(9 + int(i) for i in strongest)
    assert bool(bilevel.fixed_weights["normal"].any(dim=1).all())
    assert bool(bilevel.fixed_weights["reduce"][:9].any(dim=1).all())


def test_removal_is_measured_after_the_removals_before() -> None:
    """Two edges that stand for each other are not both dropped."""
    bilevel = deciding()
    for decided in bilevel.fixed_weights.values():
        decided.zero_()[:, 4] = 1

    def score(weights: MixingWeights) -> float:
        there = weights["normal"][5:9, 4].gt(0).tolist()
        return 2.0 * (there[0] or there[1]) + 1.0 * there[2] + 0.5 * there[3]

    decide_topology(bilevel, "normal", NODES[1], score)
    left = [edge for edge in NODES[1] if bilevel.fixed_weights["normal"][edge].any()]
    assert left == [6, 7]


@pytest.mark.parametrize("epochs", [81, 20, 3, 1])
def test_decisions_are_spread_over_the_epochs_and_end_with_a_cell(epochs: int) -> None:
    torch.manual_seed(0)
    bilevel = deciding()
    worth = worth_of(bilevel)
    counts = []
    for epoch in range(epochs):
        decide_by_removal(bilevel, epoch, epochs, partial(sum_of_worth, worth))
        open_edges = {
            int((decided == UNDECIDED).any(dim=1).sum())
            for decided in bilevel.fixed_weights.values()
        }
        assert len(open_edges) == 1  # both cell types keep step
        counts.append(14 - open_edges.pop())
    assert counts[-1] == 14
    if epochs == 81:  # about five epochs for each of 17 decisions
        assert [counts.index(n) for n in range(1, 15)] == [
            17 - 17 + 81 * k // 17 for k in range(14)
        ]
    weights = bilevel.mixing_weights()
    for matrix in weights.values():
        first = 0
        for node in range(4):
            rows = matrix[first : first + 2 + node]
            assert int(rows.any(dim=1).sum()) == 2
            assert set(rows.unique().tolist()) == {0.0, 1.0}
            first += 2 + node
    cell = derive_darts(weights)
    sources = {5 + source for _, source in cell.normal[4:6]}  # of node 2, edges 5 to 8
    assert sources == {edge for edge in NODES[1] if bool(weights["normal"][edge].any())}


def test_edges_are_decided_in_a_random_order() -> None:
    orders = []
    for seed in (0, 0, 1):
        bilevel = deciding()
        worth, order = worth_of(bilevel), []
        for epoch in range(17):
            torch.manual_seed(100 * seed + epoch)
            before = bilevel.fixed_weights["normal"].clone()
            decide_by_removal(bilevel, epoch, 17, partial(sum_of_worth, worth))
            order.append((bilevel.fixed_weights["normal"] != before).any(dim=1).nonzero()[0].item())
        orders.append(order)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:14] != sorted(orders[0][:14])


@pytest.mark.parametrize("task", ["classification", "mim"])
def test_a_score_is_the_accuracy_or_else_minus_the_loss(task: str) -> None:
    bilevel = build("darts", task)
    some = batches(bilevel)
    sign, name = {"classification": (1, "accuracy"), "mim": (-1, "loss")}[task]
    parts = [
        float(bilevel.loss_with(batch, bilevel.mixing_weights()).parts[name]) for batch in some
    ]
    assert bilevel.score(some, bilevel.mixing_weights()) == pytest.approx(sign * sum(parts) / 2)


def test_scoring_goes_by_the_batch_and_leaves_nothing_behind() -> None:
    bilevel = build("darts", "mim")
    train, search = batches(bilevel)
    expected = bilevel.score([train, search], bilevel.mixing_weights())
    with torch.no_grad():
        for name, buffer in bilevel.supernet.named_buffers():
            if "running" in name:
                buffer.uniform_(1, 2)
    bilevel.supernet.eval()
    modules = (bilevel.supernet, bilevel.task)
    states = [{k: v.clone() for k, v in module.state_dict().items()} for module in modules]
    assert bilevel.score([train, search], bilevel.mixing_weights()) == expected
    for module, state in zip(modules, states, strict=True):
        after = module.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    assert (bilevel.supernet.training, bilevel.task.training) == (False, True)


def test_a_decided_edge_gives_alpha_no_gradient_and_perturbation_ends() -> None:
    bilevel = deciding()
    bilevel.fixed_weights["normal"][3] = torch.eye(8, dtype=torch.float64)[2]
    _, search = batches(bilevel)
    (normal, _) = bilevel.strategy.alpha_gradient(bilevel, search, search)
    assert not normal[3].any()
    assert bool(normal[4].all())
    assert bilevel.strategy.perturb is None


def test_the_stages_of_the_paper() -> None:
    search, decide = search_and_decide(SearchConfig(epochs=131))
    assert (search.epochs, decide.epochs, decide.carry) == (50, 81, True)
    assert decide.settings == {"weight_lr": pytest.approx(0.0025), "alpha_warmup": 1.0}
    assert NODES == [[2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13]]


def test_a_cell_of_nas_bench_201_keeps_an_operation_on_every_edge() -> None:
    bilevel = deciding(space="nas-bench-201", cells=1)
    worth = worth_of(bilevel)
    decide = bilevel.strategy.on_epoch_end
    assert decide
    for epoch in range(4):
        decide(bilevel, epoch, 4, partial(sum_of_worth, worth))
    expected = [NAS_BENCH_201_OPERATIONS[int(k) + 1] for k in worth["cell"][:, 1:].argmax(dim=1)]
    assert SPACES["nas-bench-201"].derive(bilevel.mixing_weights()) == Nb201Cell(tuple(expected))


def staged(dataset: Dataset, **settings: Any) -> StagedSearch:
    phase = build_search(
        SearchConfig(
            **{
                "strategy": "darts-pt",
                "space": "nas-bench-201",
                "task": "semantic",
                "patch_size": 4,
                "channels": 2,
                "cells": 1,
                "epochs": 4,
                "batch_size": 4,
                "epoch_images": 8,
                "valid_images": 6,
                "device": "cpu",
                **settings,
            }
        ),
        dataset,
    )
    assert isinstance(phase, StagedSearch)
    return phase


def timeless(run: RunDir) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics("search")
    ]


def test_the_second_stage_goes_on_with_what_the_first_learned(tiny_dataset: Dataset) -> None:
    phase = staged(tiny_dataset, epochs=2, alpha_lr=0.1)
    phase.begin_epoch(0)
    for step, batch in enumerate(phase.batches(0, 0)):
        phase.step(0, step, batch)
    first = phase.inner.bilevel
    learned = {**first.supernet.state_dict(), **first.task.state_dict(), **first.alphas}
    phase.begin_epoch(1)
    second = phase.inner.bilevel
    assert second is not first
    carried = {**second.supernet.state_dict(), **second.task.state_dict(), **second.alphas}
    assert all(torch.equal(carried[name], tensor) for name, tensor in learned.items())
    for step, batch in enumerate(phase.batches(1, 0)):
        phase.step(1, step, batch)
    assert torch.equal(second.alphas["cell"], first.alphas["cell"])  # during its warmup
    assert not torch.equal(second.weight_list[0], first.weight_list[0])


@pytest.mark.slow
def test_a_search_that_dies_amid_decisions_ends_as_one_that_did_not(
    tiny_dataset: Dataset,
    reporter: Reporter,
    crash_and_resume: Callable[..., tuple[StagedSearch, RunDir]],
    tmp_path: Path,
) -> None:
    run = RunDir.create("s", tmp_path / "straight")
    whole = staged(tiny_dataset)
    run_phase(whole, run, reporter, resume=False, checkpoint_seconds=1e9)
    resumed, crashed = crash_and_resume(lambda: staged(tiny_dataset), (3, 2), 0.0)
    ended, again = whole.state(), resumed.state()
    assert ended.keys() == again.keys()
    assert all(torch.equal(ended[name], again[name]) for name in ended)
    assert not ended["inner/fixed_weights/cell"].eq(UNDECIDED).any()
    records, repeated = timeless(run), timeless(crashed)
    assert records == repeated
    assert [record["stage"] for record in records] == [1, 1, 2, 2]
    cell, _ = whole.result(records)
    assert cell.to_dict() == records[-1]["genotype"]
    del again["inner/fixed_weights/cell"]
    with pytest.raises(RunError, match="other architecture parameters than darts-pt"):
        staged(tiny_dataset).load_state(again, tmp_path / "x")
