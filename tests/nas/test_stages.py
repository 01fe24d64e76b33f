"""P-DARTS's stages: fewer operations, deeper supernets, and an exact resume."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import RunError
from sdedge.nas.scalars import SKIP_DROPOUT
from sdedge.nas.stages import StagedSearch, build_search
from sdedge.nas.strategies.p_darts import (
    P_DARTS,
    derive_with_few_skips,
    dropout_on_skips,
    strongest,
    three_stages,
)
from sdedge.nas.strategy import Stage
from sdedge.operations import DARTS_OPERATIONS
from sdedge.space.darts.derive import derive_darts


def staged(dataset: Dataset) -> StagedSearch:
    settings: dict[str, Any] = {
        "strategy": "p-darts",
        "task": "classification",
        "channels": 2,
        "cells": 3,
        "epochs": 3,
        "batch_size": 4,
        "epoch_images": 4,
        "valid_images": 4,
        "device": "cpu",
    }
    phase = build_search(SearchConfig(**settings), dataset)
    assert isinstance(phase, StagedSearch)
    return phase


def run_epoch(phase: StagedSearch, epoch: int) -> dict[str, Any]:
    phase.begin_epoch(epoch)
    for step, batch in enumerate(phase.batches(epoch, 0)):
        torch.manual_seed(1000 * epoch + step)
        phase.step(epoch, step, batch)
    return phase.end_epoch(epoch)


def first_dropout(stage: Stage) -> float:
    assert stage.vary
    return stage.vary(P_DARTS).schedules[SKIP_DROPOUT](0, 25)


def test_the_stages_of_the_paper() -> None:
    stages = three_stages(SearchConfig(cells=5, epochs=75, alpha_warmup=0.4))
    assert [stage.settings["cells"] for stage in stages] == [5, 11, 17]
    assert [stage.epochs for stage in stages] == [25, 25, 25]
    assert list(map(first_dropout, stages)) == pytest.approx([0, 0.4 * 24 / 25, 0.7 * 24 / 25])
    assert dropout_on_skips(0.4, 0.4)(15, 25) == pytest.approx(0.4 * 2.718281828 ** (-0.2 * 5))


@pytest.mark.slow
def test_stages_keep_8_5_3_operations_and_deepen(tiny_dataset: Dataset) -> None:
    phase = staged(tiny_dataset)
    held, depths, stages = [], [], []
    for epoch in range(3):
        stages.append(run_epoch(phase, epoch)["stage"])
        bilevel = phase.inner.bilevel
        used = {name: (w > 0).sum(dim=1) for name, w in bilevel.mixing_weights().items()}
        held.append({int(count) for counts in used.values() for count in counts})
        depths.append(len(bilevel.supernet.cells))
    assert (stages, held, depths) == ([1, 2, 3], [{8}, {5}, {3}], [3, 7, 10])


@pytest.mark.slow
def test_a_stage_resumes_bit_for_bit(tiny_dataset: Dataset, tmp_path: Path) -> None:
    whole, resumed = staged(tiny_dataset), staged(tiny_dataset)
    run_epoch(whole, 0)
    run_epoch(whole, 1)
    state = {name: tensor.clone() for name, tensor in whole.state().items()}
    resumed.load_state(state, tmp_path / "search.checkpoint.safetensors")
    run_epoch(whole, 2)
    run_epoch(resumed, 2)
    assert whole.result([])[0] == resumed.result([])[0]
    ended, again = whole.state(), resumed.state()
    assert all(torch.equal(ended[name], again[name]) for name in ended)
    with pytest.raises(RunError, match="is of no stage of p-darts"):
        resumed.load_state({**state, "stage": torch.tensor(7)}, tmp_path / "x")


def test_the_strongest_operations_are_kept() -> None:
    weights = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.1, 0.5, 0.15]])
    assert strongest(weights, 2).tolist() == [
        [False, True, False, True],
        [True, False, True, False],
    ]


def test_the_normal_cell_keeps_its_two_strongest_skips() -> None:
    torch.manual_seed(0)
    weights = {name: torch.rand(14, 8) for name in ("normal", "reduce")}
    skip = DARTS_OPERATIONS.index("skip_connect")
    weights["normal"][:, skip] += 1
    weights["reduce"][:, skip] += 1
    given = weights["normal"].clone()
    genotype = derive_with_few_skips(weights)
    assert derive_darts(weights).skip_count == 8
    assert genotype.skip_count == 2
    assert all(name == "skip_connect" for name, _ in genotype.reduce)
    assert torch.equal(weights["normal"], given)
