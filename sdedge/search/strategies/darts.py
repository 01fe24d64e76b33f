"""DARTS: differentiable architecture search (Liu et al., 2019), https://arxiv.org/abs/1806.09055

Softmax over the operations of an edge; alpha descends the loss on the search half, with the
weights taken as they are (first order) or one step ahead (second order, eq. 6 to 8).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from sdedge.search.alphas import Alphas, initial_alphas
from sdedge.search.bilevel import Bilevel
from sdedge.search.strategy import Strategy
from sdedge.search.tasks.task import TaskBatch
from sdedge.space.supernet import MixingWeights

# Length of the finite-difference step, divided by the norm of its direction (footnote 2).
_DIFFERENCE = 0.01


def softmax_relaxation(alphas: Alphas) -> MixingWeights:
    """Softmax over the operations of each edge (eq. 2)."""
    return {name: alpha.softmax(dim=-1) for name, alpha in alphas.items()}


def first_order_gradient(bilevel: Bilevel, train: TaskBatch, search: TaskBatch) -> Sequence[Tensor]:
    """dL_search/dalpha at the present weights; no weight gradient is computed."""
    with bilevel.frozen():
        return torch.autograd.grad(bilevel.search_loss(search), bilevel.alpha_list)


def second_order_gradient(
    bilevel: Bilevel, train: TaskBatch, search: TaskBatch
) -> Sequence[Tensor]:
    """dL_search/dalpha at the weights one optimizer step ahead (eq. 7 and 8).

    With w' = w - eta * (momentum * buffer + dL_train/dw + decay * w), the gradient is
    dL_search(w')/dalpha - eta * d2L_train/(dalpha dw) v, where v = dL_search(w')/dw', and the
    second term is a central difference of dL_train/dalpha along v.
    """
    parameters = bilevel.weight_list
    group = bilevel.weight_optimizer.param_groups[0]
    eta, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    gradients = torch.autograd.grad(
        bilevel.loss(train).total, parameters, allow_unused=True, materialize_grads=True
    )
    with torch.no_grad():
        ahead = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            buffer = bilevel.weight_optimizer.state[parameter].get("momentum_buffer")
            step = gradient + decay * parameter
            ahead.append(-eta * (step if buffer is None else step + momentum * buffer))

    with _moved(parameters, ahead):
        both = torch.autograd.grad(
            bilevel.search_loss(search),
            [*bilevel.alpha_list, *parameters],
            allow_unused=True,
            materialize_grads=True,
        )
    count = len(bilevel.alpha_list)
    direct, direction = both[:count], both[count:]
    norm = torch.stack([d.square().sum() for d in direction]).sum().sqrt()
    epsilon = _DIFFERENCE / norm

    def train_gradient(distance: Tensor) -> Sequence[Tensor]:
        with bilevel.frozen(), _moved(parameters, torch._foreach_mul(direction, distance)):
            return torch.autograd.grad(bilevel.loss(train).total, bilevel.alpha_list)

    above, below = train_gradient(epsilon), train_gradient(-epsilon)
    return [d - eta * (a - b) / (2 * epsilon) for d, a, b in zip(direct, above, below, strict=True)]


@contextmanager
def _moved(parameters: Sequence[Tensor], displacement: Sequence[Tensor]) -> Iterator[None]:
    """Parameters displaced, and put back to the bit at the end."""
    with torch.no_grad():
        origin = [parameter.clone() for parameter in parameters]
        torch._foreach_add_(list(parameters), list(displacement))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), origin)


DARTS = Strategy(
    name="darts",
    summary="first order: alpha descends the search loss at the present weights",
    paper="https://arxiv.org/abs/1806.09055",
    initial_alphas=initial_alphas,
    relax=softmax_relaxation,
    alpha_gradient=first_order_gradient,
)

DARTS_SECOND_ORDER = replace(
    DARTS,
    name="darts-2nd",
    summary="second order: alpha descends the search loss at the weights one step ahead",
    second_order=True,
    alpha_gradient=second_order_gradient,
)
