"""DARTS: differentiable architecture search (Liu et al., 2019), https://arxiv.org/abs/1806.09055

Softmax over the operations of an edge; alpha descends the loss on the search half, with the
weights taken as they are (first order) or one step ahead (second order, eq. 6 to 8).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas, initial_alphas
from sdedge.nas.state import SearchState
from sdedge.nas.strategy import Strategy
from sdedge.nas.tasks.task import TaskBatch
from sdedge.nas.traits import Trait
from sdedge.space.supernet import MixingWeights

# Length of the finite-difference step, divided by the norm of its direction (footnote 2).
_DIFFERENCE = 0.01


def softmax_relaxation(alphas: Alphas) -> MixingWeights:
    """Softmax over the operations of each edge (eq. 2)."""
    return {name: alpha.softmax(dim=-1) for name, alpha in alphas.items()}


def first_order_gradient(
    state: SearchState, train: TaskBatch, search: TaskBatch
) -> Sequence[Tensor]:
    """dL_search/dalpha at the present weights; no weight gradient is computed."""
    with state.frozen_weights():
        return state.alpha_gradients(state.search_loss(search))


def second_order_gradient(
    state: SearchState, train: TaskBatch, search: TaskBatch
) -> Sequence[Tensor]:
    """dL_search/dalpha at the weights one optimizer step ahead (eq. 7 and 8).

    With w' = w - eta * (momentum * buffer + dL_train/dw + decay * w), the gradient is
    dL_search(w')/dalpha - eta * d2L_train/(dalpha dw) v, where v = dL_search(w')/dw', and the
    second term is a central difference of dL_train/dalpha along v.
    """
    with state.one_step_ahead(train):
        direct, direction = state.gradients(state.search_loss(search))
    norm = torch.stack([d.square().sum() for d in direction]).sum().sqrt()
    epsilon = _DIFFERENCE / norm

    def train_gradient(distance: Tensor) -> Sequence[Tensor]:
        with state.frozen_weights(), state.displaced(torch._foreach_mul(list(direction), distance)):
            return state.alpha_gradients(state.loss(train).total)

    above, below = train_gradient(epsilon), train_gradient(-epsilon)
    eta = state.weight_lr
    return [d - eta * (a - b) / (2 * epsilon) for d, a, b in zip(direct, above, below, strict=True)]


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
    conflicts={
        Trait.DRAWN_WEIGHTS: "it takes one loss at several weights, and a draw differs each time",
        Trait.RANDOM_PASSES: "it takes one loss at several weights, and what drops differs each "
        "time",
    },
    second_order=True,
    alpha_gradient=second_order_gradient,
)
