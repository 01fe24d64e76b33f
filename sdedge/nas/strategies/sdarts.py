"""SDARTS: perturbed alphas smooth the landscape (Chen and Hsieh, 2020), https://arxiv.org/abs/2002.05283

The step of the supernet's weights takes mixing weights moved within a box around the present ones,
at random (RS, eq. 5) or where the training loss is highest (ADV, eq. 6). Alpha's own step is that
of DARTS.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.scalars import ScheduledScalar
from sdedge.nas.state import SearchState
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import Strategy
from sdedge.nas.tasks.task import TaskBatch
from sdedge.space.supernet import MixingWeights

RADIUS = ScheduledScalar("radius")
_STEPS = 7  # of the ascent
_MIN_SUM = 1e-12  # keeps an edge without any weight at nothing


def radius(epoch: int, epochs: int) -> float:
    """Half the side of the box: 0.03 at first, growing to 0.3."""
    return 0.03 + 0.27 * epoch / epochs


def random_perturbation(
    state: SearchState, weights: MixingWeights, train: TaskBatch
) -> dict[str, Tensor]:
    """Uniform noise within the box."""
    size = state.scalars[RADIUS]
    return {name: _like(w, w + size * _uniform(w)) for name, w in weights.items()}


def adversarial_perturbation(
    state: SearchState, weights: MixingWeights, train: TaskBatch
) -> dict[str, Tensor]:
    """Seven sign steps up the training loss from a random start; kept only if the loss rose.

    The supernet evaluates meanwhile, so that its running statistics stay as they are.
    """
    size = state.scalars[RADIUS]
    with state.evaluating(), state.frozen_weights():
        start = state.loss_with(train, weights).total.detach()
        moved = {name: _like(w, w + size * _uniform(w)) for name, w in weights.items()}
        for _ in range(_STEPS):
            moved = _ascended(state, weights, moved, train, size)
        reached = state.loss_with(train, moved).total.detach()
    rose = reached > start
    return {name: torch.where(rose, moved[name], w) for name, w in weights.items()}


def _ascended(
    state: SearchState,
    weights: MixingWeights,
    moved: Mapping[str, Tensor],
    train: TaskBatch,
    size: Tensor,
) -> dict[str, Tensor]:
    leaves = {name: w.detach().requires_grad_() for name, w in moved.items()}
    loss = state.loss_with(train, leaves).total
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    ascended = {}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        away = leaf.detach() + 2 * size / _STEPS * gradient.sign() - weights[name]
        ascended[name] = _like(weights[name], weights[name] + away.clamp(-size, size))
    return ascended


def _uniform(like: Tensor) -> Tensor:
    return 2 * torch.rand_like(like) - 1


def _like(weights: Tensor, moved: Tensor) -> Tensor:
    """Moved weights within [0, 1], and with the sum that each edge had."""
    clipped = moved.clamp(0, 1)
    return clipped * (
        weights.sum(dim=1, keepdim=True) / clipped.sum(dim=1, keepdim=True).clamp_min(_MIN_SUM)
    )


def _sdarts(name: str, summary: str) -> Strategy:
    return replace(
        DARTS,
        name=name,
        summary=summary,
        paper="https://arxiv.org/abs/2002.05283",
        schedules={RADIUS: radius},
    )


SDARTS_RS = replace(
    _sdarts("sdarts-rs", "weights train under mixing weights perturbed at random"),
    perturb=random_perturbation,
)
SDARTS_ADV = replace(
    _sdarts("sdarts-adv", "weights train under the mixing weights that hurt most nearby"),
    perturb=adversarial_perturbation,
)
