"""What defines each search method, checked on a supernet small enough for the plain formulas."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories.bilevel import batches, build
from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.nas.bilevel import Bilevel, nonzero
from sdedge.nas.combination import combine
from sdedge.nas.curvature import largest_eigenvalue
from sdedge.nas.scalars import ScheduledScalars
from sdedge.nas.strategies import STRATEGIES, get_strategy, strategy_for
from sdedge.nas.strategies.beta_darts import BETA_DECAY
from sdedge.nas.strategies.darts_minus import AUXILIARY_SKIP
from sdedge.nas.strategies.darts_plus import at_two_skips
from sdedge.nas.strategies.gdas import TEMPERATURE, one_hot_sample
from sdedge.nas.strategies.robust_darts import alpha_eigenvalue, before_the_rise
from sdedge.nas.strategies.sdarts import RADIUS, radius
from sdedge.space.darts.cell import CELL_TYPES
from sdedge.space.darts.search_cell import SearchCell
from sdedge.space.darts.supernet import Supernet
from sdedge.space.spaces import SPACES
from sdedge.space.supernet import MixingWeights


def strategy_bilevel(name: str, epoch: int = 5, epochs: int = 10, **settings: Any) -> Bilevel:
    bilevel = build(name, "classification", torch.float64, **settings)
    bilevel.begin_epoch(epoch, epochs)
    return bilevel


# beta-DARTS


def test_beta_decay_is_the_closed_form_and_so_is_its_gradient() -> None:
    bilevel = strategy_bilevel("beta", epoch=5, epochs=50)
    (penalty,) = bilevel.strategy.penalties
    value = penalty(bilevel.alphas, bilevel.scalars)
    rows = torch.cat(bilevel.alpha_list)
    expected = 50 * 5 / 50 * rows.exp().sum(dim=1).log().mean()
    torch.testing.assert_close(value, expected)
    gradients = torch.autograd.grad(value, bilevel.alpha_list)
    for alpha, gradient in zip(bilevel.alpha_list, gradients, strict=True):
        torch.testing.assert_close(gradient, 5.0 / 28 * alpha.softmax(dim=1))


def test_beta_decay_starts_at_nothing_and_adds_to_the_search_loss_alone() -> None:
    bilevel = strategy_bilevel("beta", epoch=0)
    _, search = batches(bilevel)
    assert torch.equal(bilevel.search_loss(search), bilevel.loss(search).total)
    bilevel.begin_epoch(9, 10)
    (penalty,) = bilevel.strategy.penalties
    extra = bilevel.search_loss(search) - bilevel.loss(search).total
    torch.testing.assert_close(extra, penalty(bilevel.alphas, bilevel.scalars))


# FairDARTS


def test_fair_weights_are_independent_sigmoids_and_none_is_no_operation() -> None:
    bilevel = strategy_bilevel("fair-darts")
    before = bilevel.strategy.relax(bilevel.alphas)["normal"].detach()
    torch.testing.assert_close(before[:, 1:], 1 / (1 + (-bilevel.alphas["normal"][:, 1:]).exp()))
    assert not before[:, 0].any()
    with torch.no_grad():
        bilevel.alphas["normal"][3, 4] += 1
    moved = (bilevel.strategy.relax(bilevel.alphas)["normal"] != before).nonzero()
    assert moved.tolist() == [[3, 4]]
    start = bilevel.strategy.initial_alphas(SPACES["darts"], torch.device("cpu"))
    assert set(bilevel.strategy.relax(start)["reduce"][:, 1:].unique().tolist()) == {0.5}


def test_the_zero_one_loss_pushes_away_from_one_half() -> None:
    bilevel = strategy_bilevel("fair-darts")
    (penalty,) = bilevel.strategy.penalties
    value = penalty(bilevel.alphas, bilevel.scalars)
    some = torch.cat([alpha[:, 1:] for alpha in bilevel.alpha_list]).sigmoid()
    torch.testing.assert_close(value, -10 * ((some - 0.5) ** 2).mean())
    gradient = torch.autograd.grad(value, bilevel.alpha_list)[0][:, 1:]
    assert torch.equal(gradient.sign(), -bilevel.alphas["normal"][:, 1:].sign())


# SDARTS


@pytest.mark.parametrize("name", ["sdarts-rs", "sdarts-adv"])
def test_sdarts_perturbs_the_weight_step_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bilevel = strategy_bilevel(name)
    train, search = batches(bilevel)
    seen: list[MixingWeights] = []
    loss_with = bilevel.loss_with

    def spied(batch: Any, weights: MixingWeights) -> Any:
        seen.append(weights)
        return loss_with(batch, weights)

    monkeypatch.setattr(bilevel, "loss_with", spied)
    plain = bilevel.strategy.relax(bilevel.alphas)
    bilevel.strategy.alpha_gradient(bilevel, train, search)
    (used,) = seen
    assert all(torch.equal(used[kind], plain[kind]) for kind in CELL_TYPES)
    bilevel.weight_step(train)
    assert any(not torch.equal(seen[-1][kind], plain[kind]) for kind in CELL_TYPES)


def test_random_smoothing_stays_in_the_box_and_sums_to_one() -> None:
    bilevel = strategy_bilevel("sdarts-rs", epoch=0)
    assert (radius(0, 50), radius(50, 50)) == pytest.approx((0.03, 0.3))
    weights = {kind: torch.full((14, 8), 1 / 8, dtype=torch.float64) for kind in CELL_TYPES}
    train, _ = batches(bilevel)
    perturb = bilevel.strategy.perturb
    assert perturb is not None
    moved = perturb(bilevel, weights, train)["normal"]
    torch.testing.assert_close(moved.sum(dim=1), torch.ones(14, dtype=torch.float64))
    # Before the rows were brought back to a sum of 1, all were within 0.03 of 1/8.
    ratios = moved / moved[:, :1]
    assert float(ratios.max()) <= (1 / 8 + 0.03) / (1 / 8 - 0.03)
    assert float((moved - 1 / 8).abs().max()) > 0.01


def test_the_adversary_raises_the_training_loss_and_leaves_the_supernet_alone() -> None:
    bilevel = strategy_bilevel("sdarts-adv")
    train, _ = batches(bilevel)
    weights = {k: w.detach() for k, w in bilevel.strategy.relax(bilevel.alphas).items()}
    state = {k: v.clone() for k, v in bilevel.supernet.state_dict().items()}
    perturb = bilevel.strategy.perturb
    assert perturb is not None
    moved = perturb(bilevel, weights, train)
    assert all(torch.equal(v, state[k]) for k, v in bilevel.supernet.state_dict().items())
    assert bilevel.supernet.training
    bilevel.supernet.eval()
    assert bilevel.loss_with(train, moved).total > bilevel.loss_with(train, weights).total


# GDAS and SNAS


def test_gdas_computes_one_operation_an_edge_and_gives_every_alpha_a_gradient() -> None:
    bilevel = strategy_bilevel("gdas")
    train, search = batches(bilevel)
    calls = [
        module.register_forward_hook(lambda *_: ran.append(1))
        for cell in bilevel.supernet.cells
        for edge in cell.edges
        for module in edge
    ]
    ran: list[int] = []
    torch.manual_seed(3)
    sample = one_hot_sample(bilevel.alphas, bilevel.scalars)
    drawn = {kind: int(sample[kind].detach()[:, 1:].sum()) for kind in CELL_TYPES}
    torch.manual_seed(3)
    gradients = bilevel.strategy.alpha_gradient(bilevel, train, search)
    assert len(calls) == 3 * 14 * 7
    kinds = bilevel.supernet.cell_types
    assert len(ran) == sum(drawn[kind] for kind in kinds)  # none is drawn too, and computed never
    for gradient in gradients:
        assert bool((gradient != 0).all())


def test_gdas_draws_in_proportion_to_the_softmax_and_shares_the_draw() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5, 0.0, 0.0, 0.0]]).repeat(20000, 1)
    temperature = ScheduledScalars({TEMPERATURE: torch.tensor(4.0)})
    sample = one_hot_sample({"normal": logits}, temperature)["normal"]
    assert bool((sample.sum(dim=1) == 1).all())
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample.mean(dim=0), logits[0].softmax(dim=0), atol=0.01, rtol=0)
    assert nonzero({"normal": sample})["normal"][0].count(True) == 1


def test_the_gradient_of_a_sample_is_that_of_the_gumbel_softmax() -> None:
    alpha = torch.randn(14, 8, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(14, 8, dtype=torch.float64)
    scalars = ScheduledScalars({TEMPERATURE: torch.tensor(0.7, dtype=torch.float64)})
    gdas, snas = get_strategy("gdas").sample, get_strategy("snas").sample
    assert gdas
    assert snas
    found = []
    for sample in (gdas, snas):
        torch.manual_seed(5)
        drawn = sample({"normal": alpha}, scalars)["normal"]
        found += torch.autograd.grad((drawn * towards).sum(), alpha)
    torch.testing.assert_close(*found)


def test_temperatures_fall() -> None:
    gdas, snas = (get_strategy(name).schedules[TEMPERATURE] for name in ("gdas", "snas"))
    assert (gdas(0, 250), gdas(249, 250)) == pytest.approx((10, 0.1))
    assert (snas(0, 150), snas(150, 150)) == pytest.approx((1, 0.03))


def test_snas_learns_alpha_from_the_training_batch() -> None:
    assert get_strategy("snas").single_level
    assert not get_strategy("gdas").single_level


# PC-DARTS


def test_the_supernet_of_pc_darts_has_as_many_weights_as_published() -> None:
    strategy = get_strategy("pc-darts")
    with torch.device("meta"):
        supernet = Supernet(channels=16, cells=8, partial=strategy.partial)
    assert sum(weight.numel() for weight in supernet.parameters()) == 299_578


def test_pc_darts_weighs_the_edges_of_a_node_against_each_other() -> None:
    alphas = get_strategy("pc-darts").initial_alphas(SPACES["darts"], torch.device("cpu"))
    with torch.no_grad():
        for alpha in alphas.values():
            alpha.normal_()
    weights = get_strategy("pc-darts").relax(alphas)["reduce"]
    of_edge = weights.sum(dim=1)
    first = 0
    for node, sources in enumerate((2, 3, 4, 5)):
        some = alphas[f"reduce_edges_{node}"]
        torch.testing.assert_close(of_edge[first : first + sources], some.softmax(dim=0))
        first += sources
    torch.testing.assert_close(weights / of_edge[:, None], alphas["reduce"].softmax(dim=1))


def test_a_partial_cell_is_the_published_mixed_operation_summed_over_edges() -> None:
    torch.manual_seed(0)
    channels, k = 8, 4
    supernet = Supernet(channels=channels, cells=3, partial=k, impl="reference").double()
    cell = next(
        c for c, kind in zip(supernet.cells, supernet.cell_types, strict=True) if kind == "reduce"
    )
    assert isinstance(cell, SearchCell)
    weights = torch.rand(14, 8, dtype=torch.float64)
    s0 = torch.randn(2, 24, 8, 8, dtype=torch.float64)
    s1 = torch.randn(2, cell.preprocess.prev[1].in_channels, 8, 8, dtype=torch.float64)
    cell.eval()
    s0 = torch.randn(2, cell.preprocess.prev_prev[1].in_channels, 8, 8, dtype=torch.float64)
    states = list(cell.preprocess(s0, s1))
    e = 0
    for _ in range(4):
        total: Tensor | float = 0.0
        for state in list(states):
            kept = state.shape[1] // k
            outputs = cell.edges[e](state[:, :kept])
            mixed = sum(w * y for w, y in zip(weights[e, 1:], outputs, strict=True))
            past = state[:, kept:]
            if cell.strides[e] == 2:
                past = nn.functional.max_pool2d(past, 2, 2)
            whole = torch.cat([mixed, weights[e].sum() * past], dim=1)
            total = total + nn.functional.channel_shuffle(whole, k)
            e += 1
        states.append(total)
    torch.testing.assert_close(cell(s0, s1, weights), torch.cat(states[-4:], dim=1))


# DARTS-


def test_darts_minus_adds_the_input_of_each_edge_and_ends_without() -> None:
    bilevel = strategy_bilevel("darts-minus", epoch=0)
    train, _ = batches(bilevel)
    cell = bilevel.supernet.cells[0]
    assert isinstance(cell, SearchCell)
    aux = get_strategy("darts-minus").schedules[AUXILIARY_SKIP]
    assert (aux(0, 50), aux(49, 50)) == (1.0, 0.0)
    mixing = bilevel.pass_weights(bilevel.alphas)
    plain = bilevel.strategy.relax(bilevel.alphas)
    assert all(torch.equal(mixing[kind][:, :8], plain[kind]) for kind in CELL_TYPES)
    s = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    with_skip = cell.edges[0](s[:, :2])
    assert torch.equal(with_skip[-1], s[:, :2])
    bilevel.begin_epoch(9, 10)
    ended = bilevel.pass_weights(bilevel.alphas)
    assert not ended["normal"][:, 8].any()
    without = {kind: w.clone() for kind, w in ended.items()}
    out = bilevel.supernet(train.inputs, without).logits
    for kind in CELL_TYPES:  # whatever the auxiliary reductions are
        for c, name in zip(bilevel.supernet.cells, bilevel.supernet.cell_types, strict=True):
            if name == kind == "reduce":
                for edge in c.edges:
                    for p in edge[-1].parameters():
                        nn.init.normal_(p)
    torch.testing.assert_close(bilevel.supernet(train.inputs, without).logits, out)


# DARTS+


def test_darts_plus_ends_at_the_second_skip() -> None:
    records = [{"skip_count": count} for count in (0, 1, 1, 2)]
    assert [at_two_skips(records[: n + 1]) for n in range(4)] == [None, None, None, 3]


# RobustDARTS


@pytest.mark.slow
def test_the_eigenvalue_is_that_of_the_explicit_hessian() -> None:
    bilevel = strategy_bilevel("robust-es")
    _, search = batches(bilevel)
    bilevel.supernet.eval()
    sizes = [alpha.numel() for alpha in bilevel.alpha_list]

    def loss(flat: Tensor) -> Tensor:
        rows = [part.view(14, 8) for part in torch.split(flat, sizes)]
        weights = bilevel.strategy.relax(dict(zip(CELL_TYPES, rows, strict=True)))
        return bilevel.loss_with(search, weights).total + 1e-3 / 2 * flat.square().sum()

    flat = torch.cat([alpha.detach().flatten() for alpha in bilevel.alpha_list])
    explicit = torch.autograd.functional.hessian(loss, flat)
    expected = float(torch.linalg.eigvalsh(explicit)[-1])
    found = alpha_eigenvalue(bilevel, 4, search)
    assert found["alpha_eigenvalue"] == pytest.approx(expected, rel=1e-4)
    assert not alpha_eigenvalue(bilevel, 5, search)


def test_the_largest_eigenvalue_of_a_matrix_is_found_though_others_are_larger_in_size() -> None:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.linspace(-7, 2, 9, dtype=torch.float64)) @ basis.T
    start = torch.randn(9, dtype=torch.float64)
    assert largest_eigenvalue(lambda v: matrix @ v, start) == pytest.approx(2)
    only = largest_eigenvalue(lambda v: 3 * v, start)
    assert only == pytest.approx(3)


def test_early_stopping_goes_back_to_before_the_rise() -> None:
    values = [1.0] * 7 + [1.5, 2.0, 2.5]  # measured in epochs 1, 3, 5, ...
    records: list[dict[str, Any]] = []
    for i, value in enumerate(values):
        records += [{"epoch": 2 * i + 1, "alpha_eigenvalue": value}, {"epoch": 2 * i + 2}]
    ends = [before_the_rise(records[: n + 1]) for n in range(len(records))]
    # Moving averages 1, ..., 1, 1.1, 1.3, 1.6: the tenth is the first above 1.3 times 1.
    assert ends == [None] * 18 + [10, None]


# Combination


def test_parts_that_change_other_things_combine() -> None:
    both = get_strategy("sdarts-rs+beta")
    assert both.name == "sdarts-rs+beta"
    assert both.perturb is STRATEGIES["sdarts-rs"].perturb
    assert both.penalties == STRATEGIES["beta"].penalties
    assert set(both.schedules) == {RADIUS, BETA_DECAY}
    assert both.relax is STRATEGIES["darts"].relax


def test_penalties_add_up() -> None:
    bilevel = strategy_bilevel("fair-darts+beta")
    _, search = batches(bilevel)
    extra: Tensor = bilevel.search_loss(search) - bilevel.loss(search).total
    parts = [
        penalty(bilevel.alphas, bilevel.scalars)
        for name in ("fair-darts", "beta")
        for penalty in STRATEGIES[name].penalties
    ]
    torch.testing.assert_close(extra, parts[0] + parts[1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gdas+snas", "gdas and snas do not combine: each decides what is drawn for a pass"),
        ("darts-plus+p-darts", "p-darts does not combine with darts-plus: its stages go on"),
        ("gdas+darts-2nd", "darts-2nd does not combine with gdas: it takes one loss at several"),
        ("sdarts-rs+sdarts-adv", "each decides what the weight step mixes with"),
        ("darts+nothing", "unknown strategy 'nothing'"),
        ("beta+beta", "names a part twice"),
    ],
)
def test_parts_that_do_not_combine_are_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        get_strategy(name)


@pytest.mark.slow
@pytest.mark.parametrize("first", STRATEGIES)
def test_every_pair_is_refused_or_moves_alpha_and_weights(first: str) -> None:
    for second in STRATEGIES:
        name = f"{first}+{second}"
        try:
            get_strategy(name)
        except ConfigError:
            continue
        bilevel = strategy_bilevel(name, epoch=1)
        train, search = batches(bilevel)
        before = [p.detach().clone() for p in (*bilevel.alpha_list, *bilevel.weight_list)]
        bilevel.alpha_step(train, search)
        loss = bilevel.weight_step(train)
        after = [*bilevel.alpha_list, *bilevel.weight_list]
        assert torch.isfinite(loss.total)
        assert all(torch.isfinite(p).all() for p in after)
        assert not any(torch.equal(a, b) for a, b in zip(after[:2], before[:2], strict=True)), name


def test_strategies_apply_to_nas_bench_201_or_say_why_not() -> None:
    refused = {"p-darts", "dots"}
    for name in STRATEGIES:
        config = SearchConfig(space="nas-bench-201", strategy=name)
        if name in refused:
            with pytest.raises(ConfigError, match="does not apply to nas-bench-201: "):
                strategy_for(config)
            continue
        bilevel = strategy_bilevel(name, epoch=1, space="nas-bench-201", cells=1)
        train, search = batches(bilevel)
        moving = (bilevel.alpha_list[0], bilevel.weight_list[0])
        before = [tensor.detach().clone() for tensor in moving]
        bilevel.alpha_step(train, search)
        assert torch.isfinite(bilevel.weight_step(train).total)
        assert not any(torch.equal(a, b) for a, b in zip(moving, before, strict=True)), name


def test_settings_that_differ_do_not_combine() -> None:
    longer = replace(STRATEGIES["beta"], name="longer", settings={"epochs": 100})
    with pytest.raises(ConfigError, match="their settings differ in epochs"):
        combine([STRATEGIES["gdas"], longer], STRATEGIES["darts"])
