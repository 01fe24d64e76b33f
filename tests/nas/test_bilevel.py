"""The bilevel step, against autograd through the whole of what its formulas stand for."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from factories.bilevel import CLASSES, batches, build
from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.nas.alphas import initial_alphas, mixing_entropy
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.strategies import STRATEGIES, darts, get_strategy
from sdedge.nas.tasks import TASKS
from sdedge.nas.tasks.task import TaskBatch
from sdedge.space.darts.cell import CELL_TYPES
from sdedge.space.darts.supernet import WEIGHT_SHAPE
from sdedge.space.spaces import SPACES
from sdedge.space.supernet import MixingWeights, SupernetOutput


def weights_of(bilevel: Bilevel) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in bilevel.weight_list]


def alphas_of(bilevel: Bilevel) -> list[Tensor]:
    return [alpha.detach().clone() for alpha in bilevel.alpha_list]


def all_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


def test_alphas_start_nearly_uniform_and_from_the_seed() -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return initial_alphas(SPACES["darts"], torch.device("cpu"))

    alphas = drawn(0)
    assert set(alphas) == {"normal", "reduce"}
    assert all(alpha.shape == (14, 8) and alpha.requires_grad for alpha in alphas.values())
    assert not torch.equal(alphas["normal"], alphas["reduce"])
    assert torch.equal(alphas["normal"], drawn(0)["normal"])
    assert not torch.equal(alphas["normal"], drawn(1)["normal"])
    spread = torch.cat([alpha.detach() for alpha in alphas.values()]).std()
    assert float(spread) == pytest.approx(1e-3, rel=0.2)


def test_entropy_falls_from_log_8_to_zero() -> None:
    one_hot = torch.zeros(WEIGHT_SHAPE)
    one_hot[:, 3] = 1
    entropy = mixing_entropy({"normal": torch.full(WEIGHT_SHAPE, 1 / 8), "reduce": one_hot})
    assert entropy == pytest.approx({"normal": 2.0794415, "reduce": 0.0})


def test_softmax_is_over_the_operations_of_an_edge() -> None:
    bilevel = build()
    for name, weights in bilevel.strategy.relax(bilevel.alphas).items():
        expected = bilevel.alphas[name].exp()
        torch.testing.assert_close(weights, expected / expected.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("task", TASKS)
def test_the_first_order_gradient_is_that_of_the_search_loss(task: str) -> None:
    bilevel = build(task=task)
    train, search = batches(bilevel)
    gradients = bilevel.strategy.alpha_gradient(bilevel, train, search)
    assert all(parameter.grad is None for parameter in bilevel.weight_list)
    bilevel.loss(search).total.backward()  # type: ignore[no-untyped-call]
    for alpha, gradient in zip(bilevel.alpha_list, gradients, strict=True):
        assert alpha.grad is not None
        assert float(gradient.norm()) > 0
        torch.testing.assert_close(gradient, alpha.grad, rtol=1e-5, atol=1e-7)


class Spy(torch.autograd.Function):
    """scores * alpha * weight, computed as a fused operator is: what forward saw as wanted."""

    wanted: ClassVar[list[tuple[bool, bool]]] = []  # of alpha and weight, in each backward pass

    @staticmethod
    def forward(ctx: Any, scores: Tensor, alpha: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(scores, alpha, weight)
        return scores * alpha * weight

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        scores, alpha, weight = ctx.saved_tensors
        _, for_alpha, for_weight = ctx.needs_input_grad
        Spy.wanted.append((for_alpha, for_weight))
        g_alpha = (g * scores * weight).sum() if for_alpha else None
        return None, g_alpha, (g * scores * alpha).sum() if for_weight else None


class SpiedNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor, weights: MixingWeights, *_: Any, **__: Any) -> SupernetOutput:
        alpha = sum(weights[name][:, 0].sum() for name in CELL_TYPES)
        logits = Spy.apply(x[:, :CLASSES, 0, 0], alpha, self.weight)
        return SupernetOutput(logits, x)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("darts", [(True, False)]),
        # The step ahead and the gradient there ask for the weights, the two differences do not.
        ("darts-2nd", [(True, True), (True, True), (True, False), (True, False)]),
    ],
)
def test_where_alphas_gradient_alone_is_wanted_no_operator_computes_another(
    strategy: str, expected: list[tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spy, "wanted", [])
    whole = build(strategy, "classification")
    bilevel = Bilevel(
        SpiedNetwork(),  # type: ignore[arg-type]
        whole.task,
        whole.alphas,
        whole.strategy,
        SearchConfig(),
    )
    train, search = batches(bilevel)
    bilevel.alpha_step(train, search)
    assert Spy.wanted == expected
    bilevel.weight_step(train)
    assert Spy.wanted[len(expected) :] == [(False, True)]


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_frozen_weights_leave_alphas_gradient_as_it_is(impl: Any) -> None:
    bilevel = build()
    bilevel.supernet.impl = impl
    _, search = batches(bilevel)
    plain = torch.autograd.grad(bilevel.loss(search).total, bilevel.alpha_list)
    assert all_equal(list(darts.first_order_gradient(bilevel, search, search)), list(plain))


def test_frozen_weights_are_put_back_as_they_were_even_on_an_error() -> None:
    bilevel = build()
    bilevel.weight_list[3].requires_grad_(False)
    before = [weight.requires_grad for weight in bilevel.weight_list]
    with pytest.raises(MemoryError), bilevel.frozen_weights():
        assert not any(weight.requires_grad for weight in bilevel.weight_list)
        raise MemoryError
    assert [weight.requires_grad for weight in bilevel.weight_list] == before


def test_what_a_strategy_changes_for_a_pass_is_put_back_even_on_an_error() -> None:
    bilevel = build(impl="auto")
    train, _ = batches(bilevel)
    bilevel.weight_step(train)
    weights = weights_of(bilevel)
    aside = [torch.ones_like(weight) for weight in weights]

    def as_it_was() -> bool:
        supernet = bilevel.supernet
        return (
            all_equal(weights_of(bilevel), weights)
            and supernet.impl == "auto"
            and supernet.training
        )

    for change in (
        lambda: bilevel.displaced(aside),
        lambda: bilevel.one_step_ahead(train),
        bilevel.plain,
        bilevel.evaluating,
    ):
        assert as_it_was()
        with pytest.raises(MemoryError), change():
            assert not as_it_was()
            raise MemoryError
        assert as_it_was()


def test_one_step_ahead_the_weights_are_where_the_step_moves_them() -> None:
    bilevel = build("darts", "classification", torch.float64, gradient_clip=1e9)
    train, _ = batches(bilevel)
    for _ in range(2):  # without momentum, and with it
        with bilevel.one_step_ahead(train):
            ahead = weights_of(bilevel)
        bilevel.weight_step(train)
        for here, there in zip(weights_of(bilevel), ahead, strict=True):
            torch.testing.assert_close(here, there)


class Loss(nn.Module):
    """Everything that trains, as one module from a batch to its loss."""

    def __init__(self, bilevel: Bilevel) -> None:
        super().__init__()
        self.supernet, self.task, self.bilevel = bilevel.supernet, bilevel.task, bilevel

    def forward(self, batch: TaskBatch) -> Tensor:
        return self.bilevel.loss(batch).total


def unrolled_gradient(bilevel: Bilevel, train: TaskBatch, search: TaskBatch) -> list[Tensor]:
    """dL_search(w'(alpha), alpha)/dalpha by autograd through the step from w to w' (eq. 7)."""
    loss = Loss(bilevel)
    group = bilevel.weight_optimizer.param_groups[0]
    weights = dict(loss.named_parameters())
    gradients = torch.autograd.grad(
        loss(train),
        list(weights.values()),
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    ahead = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        step = gradient + group["weight_decay"] * weight
        buffer = bilevel.weight_optimizer.state[weight].get("momentum_buffer")
        if buffer is not None:
            step = step + group["momentum"] * buffer
        ahead[name] = weight - group["lr"] * step
    return list(torch.autograd.grad(functional_call(loss, ahead, (search,)), bilevel.alpha_list))


def difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """Norm of the difference of two lists of tensors, relative to the second."""
    a, e = (torch.cat([tensor.flatten() for tensor in each]) for each in (actual, expected))
    return float((a - e).norm() / e.norm())


@pytest.mark.parametrize("steps_before", [0, 2], ids=["no momentum yet", "with momentum"])
@pytest.mark.parametrize("task", ["classification", "mim"])
def test_the_second_order_gradient_is_that_of_the_unrolled_step(
    monkeypatch: pytest.MonkeyPatch, task: str, steps_before: int
) -> None:
    # The paper's 0.01 crosses kinks of ReLU and max pooling, which average out in larger networks.
    monkeypatch.setattr(darts, "_DIFFERENCE", 1e-7)
    bilevel = build("darts-2nd", task, torch.float64, weight_lr=0.1, weight_decay=0.01)
    train, search = batches(bilevel)
    for _ in range(steps_before):
        bilevel.weight_step(train)
    expected = unrolled_gradient(bilevel, train, search)
    first_order = list(darts.first_order_gradient(bilevel, train, search))
    gradient = list(bilevel.strategy.alpha_gradient(bilevel, train, search))
    assert difference(first_order, expected) > 0.1, "the second term decides nothing here"
    assert difference(gradient, expected) < 1e-6


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("task", ["semantic", "mim"])
def test_an_alpha_step_moves_alpha_alone(name: str, task: str) -> None:
    bilevel = build(name, task)
    train, search = batches(bilevel)
    bilevel.weight_step(train)
    weights, alphas = weights_of(bilevel), alphas_of(bilevel)
    gradients = [p.grad.clone() for p in bilevel.weight_list if p.grad is not None]
    bilevel.alpha_step(train, search)
    assert all_equal(weights_of(bilevel), weights)
    assert all_equal([p.grad for p in bilevel.weight_list if p.grad is not None], gradients)
    assert not any(map(torch.equal, alphas_of(bilevel), alphas))


def test_weights_are_put_back_even_if_the_loss_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    bilevel = build("darts-2nd")
    train, search = batches(bilevel)
    weights, loss = weights_of(bilevel), bilevel.loss

    def fails_on_search(batch: TaskBatch) -> Any:
        if batch is search:
            assert not all_equal(weights_of(bilevel), weights)
            raise MemoryError
        return loss(batch)

    monkeypatch.setattr(bilevel, "loss", fails_on_search)
    with pytest.raises(MemoryError):
        bilevel.alpha_step(train, search)
    assert all_equal(weights_of(bilevel), weights)


@pytest.mark.parametrize("task", TASKS)
def test_a_weight_step_moves_the_weights_alone(task: str) -> None:
    bilevel = build(task=task)
    train, _ = batches(bilevel)
    weights, alphas = weights_of(bilevel), alphas_of(bilevel)
    loss = bilevel.weight_step(train)
    assert all_equal(alphas_of(bilevel), alphas)
    assert all(alpha.grad is None for alpha in bilevel.alpha_list)
    moved = sum(not torch.equal(a, b) for a, b in zip(weights_of(bilevel), weights, strict=True))
    assert moved > 0.9 * len(weights)
    assert {"loss"} <= loss.parts.keys()


def test_repeated_weight_steps_lower_the_loss() -> None:
    bilevel = build(weight_lr=0.05)
    train, _ = batches(bilevel)
    losses = [float(bilevel.weight_step(train).parts["cross_entropy"]) for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


def test_repeated_alpha_steps_lower_the_search_loss() -> None:
    bilevel = build(alpha_lr=0.1)
    train, search = batches(bilevel)
    before = float(bilevel.loss(search).parts["cross_entropy"])
    for _ in range(10):
        bilevel.alpha_step(train, search)
    assert float(bilevel.loss(search).parts["cross_entropy"]) < before


@pytest.mark.parametrize(("clip", "length"), [(1e-3, 1e-3), (1e6, None)])
def test_the_gradient_of_the_weights_is_clipped(clip: float, length: float | None) -> None:
    bilevel = build(gradient_clip=clip, weight_lr=1.0, weight_momentum=0.0, weight_decay=0.0)
    train, _ = batches(bilevel)
    if length is None:
        gradients = torch.autograd.grad(
            bilevel.loss(train).total,
            bilevel.weight_list,
            allow_unused=True,
            materialize_grads=True,
        )
        length = float(nn.utils.get_total_norm(gradients))
    for alpha in bilevel.alpha_list:
        alpha.grad = torch.full_like(alpha, 1e6)  # no part of the norm
    before = weights_of(bilevel)
    bilevel.weight_step(train)
    moves = [a - b for a, b in zip(weights_of(bilevel), before, strict=True)]
    assert float(nn.utils.get_total_norm(moves)) == pytest.approx(length, rel=1e-3)


def test_the_gradient_of_alpha_is_not_clipped() -> None:
    def first_gradient(clip: float) -> list[Tensor]:
        bilevel = build(gradient_clip=clip)
        bilevel.alpha_step(*batches(bilevel))
        return [alpha.grad for alpha in bilevel.alpha_list if alpha.grad is not None]

    assert len(first_gradient(1e-6)) == 2
    assert all_equal(first_gradient(1e-6), first_gradient(1e6))


def test_the_optimizers_have_the_settings_they_were_given() -> None:
    bilevel = build(
        weight_lr=0.2,
        weight_momentum=0.8,
        weight_decay=0.03,
        alpha_lr=0.04,
        alpha_betas=(0.6, 0.7),
        alpha_decay=0.05,
    )
    weights, alphas = bilevel.weight_optimizer.param_groups, bilevel.alpha_optimizer.param_groups
    assert len(weights) == len(alphas) == 1
    assert (weights[0]["lr"], weights[0]["momentum"], weights[0]["weight_decay"]) == (
        0.2,
        0.8,
        0.03,
    )
    assert (alphas[0]["lr"], alphas[0]["betas"], alphas[0]["weight_decay"]) == (
        0.04,
        (0.6, 0.7),
        0.05,
    )
    heads = {id(p) for p in bilevel.task.parameters()}
    assert heads
    assert heads <= {id(p) for p in weights[0]["params"]}


@pytest.mark.parametrize(
    "use", [lambda name: get_strategy(name), lambda name: build(name)], ids=["get", "build"]
)
def test_an_unknown_strategy_lists_those_there_are(use: Callable[[str], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        use("nope")
    assert "'nope'" in str(caught.value)
    assert all(name in str(caught.value) for name in STRATEGIES)
