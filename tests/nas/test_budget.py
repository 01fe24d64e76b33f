"""The cost of an architecture against its definition, and what its multiplier does to a search."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import RunError
from sdedge.events import Reporter
from sdedge.genotype import Genotype, published
from sdedge.loop import MEASURED, run_phase
from sdedge.nas.budget import PLACES, Budget, Costs, places
from sdedge.nas.phase import SearchPhase
from sdedge.nas.strategies.darts import softmax_relaxation
from sdedge.operations import DARTS_OPERATIONS
from sdedge.run import RunDir
from sdedge.space.darts.cell import CELL_TYPES
from sdedge.space.darts.derive import derive_darts
from sdedge.space.darts.supernet import WEIGHT_SHAPE

CPU = torch.device("cpu")
WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
DEAR = {"sep_conv_3x3": 2.0, "sep_conv_5x5": 3.0, "dil_conv_3x3": 1.0, "dil_conv_5x5": 1.5}


def costs(limit: float = 30.0, fixed: float = 5.0, unit: float = 1.0) -> Costs:
    """Convolutions are dear, in a reduction cell twice as dear."""
    prices: dict[Any, dict[str, float]] = {
        place: {
            name: unit * factor * DEAR.get(name, 0.1 * k)
            for k, name in enumerate(DARTS_OPERATIONS[1:])
        }
        for place, factor in zip(PLACES, (1.0, 2.0, 2.5), strict=True)
    }
    return Costs(limit=unit * limit, fixed=unit * fixed, prices=prices)


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        name: torch.randn(WEIGHT_SHAPE, dtype=torch.float64).softmax(dim=1) for name in CELL_TYPES
    }


def expected_by_definition(table: Costs, weights: Mapping[str, Tensor]) -> float:
    """Two draws a node, from all its edges and operations but `none`, by their weights."""
    total = table.fixed
    for kind in CELL_TYPES:
        edge = 0
        for node in range(4):
            draws: list[tuple[float, float]] = []
            for source in range(2 + node):
                place = "normal" if kind == "normal" else ("reduce", "reduce_strided")[source < 2]
                for k, name in enumerate(DARTS_OPERATIONS):
                    if name != "none":
                        draws.append((float(weights[kind][edge, k]), table.prices[place][name]))
                edge += 1
            total += 2 * sum(w * price for w, price in draws) / sum(w for w, _ in draws)
    return total


def test_the_cost_of_a_cell_is_the_sum_of_its_operations() -> None:
    genotype = published()["DARTS_V1"].genotype
    assert sum(place == "reduce_strided" for place, _ in places(genotype)) == sum(
        source < 2 for _, source in genotype.reduce
    )
    ones: dict[Any, dict[str, float]] = {
        place: dict.fromkeys(DARTS_OPERATIONS[1:], price)
        for place, price in zip(PLACES, (1.0, 10.0, 100.0), strict=True)
    }
    strided = sum(source < 2 for _, source in genotype.reduce)
    table = Costs(limit=1.0, fixed=0.5, prices=ones)
    assert table.of(genotype) == 0.5 + 8 + 10 * (8 - strided) + 100 * strided


@pytest.mark.parametrize("seed", range(3))
def test_the_expected_cost_is_that_of_two_draws_a_node(seed: int) -> None:
    weights = random_weights(seed)
    tables = {"a": costs(), "b": costs(limit=7, fixed=2, unit=1000.0)}
    expected = Budget(tables, CPU).expected(weights)
    for share, table in zip(expected.tolist(), tables.values(), strict=True):
        assert share == pytest.approx(expected_by_definition(table, weights) / table.limit)


def test_where_one_cell_alone_has_weight_it_is_the_cost_expected() -> None:
    genotype = published()["PDARTS"].genotype
    weights = {name: torch.full(WEIGHT_SHAPE, 1e-9) for name in CELL_TYPES}
    for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        for position, (operation, source) in enumerate(cell):
            node = position // 2
            edge = node * (node + 3) // 2 + source
            weights[kind][edge, DARTS_OPERATIONS.index(operation)] = 0.5
    budget = Budget({"a": costs()}, CPU)
    assert derive_darts(weights).normal == genotype.normal
    assert float(budget.expected(weights)) == pytest.approx(budget.derived(genotype)[0], rel=1e-5)


def test_none_does_not_look_cheap() -> None:
    budget, weights = Budget({"a": costs()}, CPU), random_weights()
    mostly_none = {name: 0.01 * matrix for name, matrix in weights.items()}
    for matrix in mostly_none.values():
        matrix[:, 0] = 1 - matrix[:, 1:].sum(dim=1)
    torch.testing.assert_close(budget.expected(mostly_none), budget.expected(weights))


def test_the_slope_of_the_expected_cost_is_that_of_finite_differences() -> None:
    budget = Budget({"a": costs(), "b": costs(limit=7)}, CPU)
    torch.manual_seed(1)
    alphas = [torch.randn(WEIGHT_SHAPE, dtype=torch.float64).requires_grad_() for _ in CELL_TYPES]

    def share(normal: Tensor, reduce: Tensor) -> Tensor:
        return budget.expected(softmax_relaxation({"normal": normal, "reduce": reduce}))

    assert torch.autograd.gradcheck(share, alphas)


def weigh(budget: Budget, gradients: list[Tensor], alphas: list[Tensor]) -> list[Tensor]:
    relaxed = softmax_relaxation(dict(zip(CELL_TYPES, alphas, strict=True)))
    return budget.weigh(gradients, relaxed, alphas)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("size", [1e-4, 1.0])
def test_a_multiplier_of_one_weighs_like_the_task_whatever_the_units(
    unit: float, size: float
) -> None:
    torch.manual_seed(2)
    alphas = [torch.randn(WEIGHT_SHAPE).requires_grad_() for _ in CELL_TYPES]
    task = [size * torch.randn(WEIGHT_SHAPE) for _ in CELL_TYPES]
    budget = Budget({"a": costs(unit=unit)}, CPU)
    assert all(map(torch.equal, weigh(budget, task, alphas), task))
    budget.multipliers.fill_(1.0)
    added = torch.cat([a - b for a, b in zip(weigh(budget, task, alphas), task, strict=True)])
    assert float(added.norm()) == pytest.approx(float(torch.cat(task).norm()), rel=1e-4)
    with torch.no_grad():
        moved = [alpha - 1e-3 / size * a for alpha, a in zip(alphas, added.split(14), strict=True)]
    before, after = (
        float(
            budget.expected(softmax_relaxation(dict(zip(CELL_TYPES, each, strict=True)))).detach()
        )
        for each in (alphas, moved)
    )
    assert after < before


def test_each_limit_has_its_own_multiplier() -> None:
    cheap, dear = (
        Genotype(normal=((name, 0), (name, 1)) * 4, reduce=((name, 0), (name, 1)) * 4)
        for name in ("max_pool_3x3", "sep_conv_5x5")
    )
    budget = Budget({"tight": costs(limit=6), "loose": costs(limit=1000)}, CPU)
    place = budget.multipliers.data_ptr()
    seen = []
    for genotype in (dear, dear, *(cheap,) * 40):
        budget.adjust(genotype)
        seen.append(budget.multipliers.tolist())
    assert seen[0][0] < seen[1][0] > seen[-1][0] == 0.0
    assert all(loose == 0.0 for _, loose in seen)
    for _ in range(100):
        budget.adjust(dear)
    assert seen[1][0] < float(budget.multipliers[0]) < 100, "a limit out of reach ends somewhere"
    assert budget.multipliers.data_ptr() == place, "a CUDA graph reads it where it was"


@pytest.mark.parametrize("limit", [15.0, 25.0])
@pytest.mark.parametrize(("steps", "rate"), [(60, 2e-2), (400, 6e-3)])
def test_the_derived_cell_comes_below_its_limit(limit: float, steps: int, rate: float) -> None:
    """A task that likes convolutions, seen through noise five times as large as its gradient."""
    torch.manual_seed(3)
    budget = Budget({"a": costs(limit=limit)}, CPU)
    likes = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.7, 1.0, 0.5, 0.8])
    rewards = [likes + 0.3 * torch.randn(WEIGHT_SHAPE) for _ in CELL_TYPES]
    alphas = [(1e-3 * torch.randn(WEIGHT_SHAPE)).requires_grad_() for _ in CELL_TYPES]
    optimizer = torch.optim.Adam(alphas, lr=rate, betas=(0.5, 0.999))

    def derived() -> Genotype:
        relaxed = softmax_relaxation(dict(zip(CELL_TYPES, alphas, strict=True)))
        return derive_darts({name: weights.detach() for name, weights in relaxed.items()})

    def learn(*, budgeted: bool) -> float:
        for step in range(steps):
            relaxed = [alpha.softmax(dim=1) for alpha in alphas]
            loss = torch.stack([-(w * r).sum() for w, r in zip(relaxed, rewards, strict=True)])
            gradients = torch.autograd.grad(loss.sum(), alphas)
            noisy = [g + 5 * g.std() * torch.randn_like(g) for g in gradients]
            if budgeted:
                if step % max(1, steps // 40) == 0:
                    budget.adjust(derived())
                noisy = weigh(budget, noisy, alphas)
            for alpha, gradient in zip(alphas, noisy, strict=True):
                alpha.grad = gradient
            optimizer.step()
        return budget.costs["a"].of(derived())

    assert learn(budgeted=False) > 1.2 * limit
    assert learn(budgeted=True) < 1.1 * limit
    assert float(budget.multipliers) < 4.0


def test_costs_survive_json_to_the_bit_and_damage_is_told() -> None:
    table = costs(limit=0.1 + 0.2)
    assert Costs.from_dict(asdict(table), source="budget.json") == table
    broken = asdict(table)
    del broken["prices"]["reduce"]["sep_conv_3x3"]
    with pytest.raises(RunError, match=r"^budget\.json is damaged: .*sep_conv_3x3"):
        Costs.from_dict(broken, source="budget.json")


# A search with a budget.


def config(**settings: Any) -> SearchConfig:
    return SearchConfig(
        **{
            "device": "cpu",
            "epochs": 2,
            "batch_size": 4,
            "epoch_images": 8,
            "valid_images": 4,
            "channels": 2,
            "cells": 3,
            "patch_size": 4,
            "alpha_lr": 0.05,
            "task": "classification",
            **settings,
        }
    )


def budgeted(dataset: Dataset, limit: float = 15.0, **settings: Any) -> SearchPhase:
    return SearchPhase(config(**settings), dataset, {"max_params": costs(limit=limit)})


def outcome(phase: SearchPhase, run: RunDir) -> tuple[dict[str, bytes], list[dict[str, object]]]:
    records = [
        {k: v for k, v in r.items() if k not in MEASURED} for r in run.read_metrics("search")
    ]
    return {name: t.detach().numpy().tobytes() for name, t in phase.state().items()}, records


def searched(phase: SearchPhase, path: Path, reporter: Reporter) -> RunDir:
    run = RunDir.create("s", path)
    run_phase(phase, run, reporter, resume=False, checkpoint_seconds=1e9)
    return run


@pytest.fixture(scope="module")
def straight(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SearchPhase, RunDir]:
    """A search within a budget that nothing disturbed."""
    phase = budgeted(tiny_dataset)
    return phase, searched(phase, tmp_path_factory.mktemp("straight"), reporter)


@pytest.mark.slow
def test_an_epoch_tells_what_the_cell_costs(straight: tuple[SearchPhase, RunDir]) -> None:
    records = straight[1].read_metrics("search")
    assert len(records) == 2
    for record in records:
        told = record["budget"]["max_params"]
        assert told["limit"] == 15.0
        derived = costs().of(Genotype.from_dict(record["genotype"]))
        assert told["derived"] == pytest.approx(derived)
    assert records[-1]["budget"]["max_params"]["multiplier"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("impl", "strategy", "task"), [("auto", "darts", "semantic"), ("reference", "darts-2nd", "mim")]
)
def test_a_limit_that_is_never_broken_changes_nothing(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path: Path, impl: str, strategy: str, task: str
) -> None:
    settings = {"impl": impl, "strategy": strategy, "task": task, "epochs": 1}
    free = SearchPhase(config(**settings), tiny_dataset)
    loose = budgeted(tiny_dataset, limit=1e9, **settings)
    tight = budgeted(tiny_dataset, limit=6.0, **settings)
    for name, phase in (("free", free), ("loose", loose), ("tight", tight)):
        searched(phase, tmp_path / name, reporter)
    for name, alpha in free.bilevel.alphas.items():
        assert torch.equal(loose.bilevel.alphas[name], alpha)
        assert not torch.equal(tight.bilevel.alphas[name], alpha)


@pytest.mark.slow
def test_during_the_alpha_warmup_no_multiplier_moves(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path: Path
) -> None:
    phase = budgeted(tiny_dataset, limit=6.0, alpha_warmup=0.5)
    records = searched(phase, tmp_path / "run", reporter).read_metrics("search")
    first, second = (record["budget"]["max_params"]["multiplier"] for record in records)
    assert first == 0 < second


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0, 1), (0, 2), (1, 1)])
def test_a_search_within_a_budget_resumes_to_the_bit(
    straight: tuple[SearchPhase, RunDir],
    tiny_dataset: Dataset,
    crash_and_resume: Callable[..., tuple[SearchPhase, RunDir]],
    at: tuple[int, int],
) -> None:
    resumed, crashed = crash_and_resume(lambda: budgeted(tiny_dataset), at, 0.0)
    assert outcome(resumed, crashed) == outcome(*straight)
    assert resumed.bilevel.budget is not None
    assert float(resumed.bilevel.budget.multipliers) > 0


def test_a_checkpoint_without_multipliers_is_refused(tiny_dataset: Dataset) -> None:
    state = SearchPhase(config(), tiny_dataset).state()
    with pytest.raises(RunError, match="multipliers"):
        budgeted(tiny_dataset).load_state(state, Path("here"))


class NoWaiting(TorchDispatchMode):
    """Fails where a step would wait for the device, which no CUDA graph can hold."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in WAITS, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def test_an_alpha_step_within_a_budget_never_waits_for_the_device(tiny_dataset: Dataset) -> None:
    phase = budgeted(tiny_dataset)
    phase.begin_epoch(0)
    bilevel = phase.bilevel
    train, search = (
        bilevel.task.prepare(phase.data.augment(images), labels)
        for images, labels in next(phase.batches(0, 0))
    )
    bilevel.alpha_step(train, search)  # makes the optimizer's buffers
    with NoWaiting():
        bilevel.loss(search)
        gradients = [torch.ones_like(alpha) for alpha in bilevel.alpha_list]
        assert bilevel.budget is not None
        weights = bilevel.strategy.relax(bilevel.alphas)
        bilevel.budget.weigh(gradients, weights, bilevel.alpha_list)
