"""GDAS: one sampled operation an edge (Dong and Yang, 2019), https://arxiv.org/abs/1910.04465

Every pass draws one operation an edge by the Gumbel-max trick, shared by all cells of a type, and
computes no other (eq. 3 and 4); the gradient is that of the Gumbel softmax.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas
from sdedge.nas.scalars import ScheduledScalar, ScheduledScalars
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.traits import Trait

TEMPERATURE = ScheduledScalar("temperature")  # of the Gumbel softmax


def one_hot_sample(alphas: Alphas, scalars: ScheduledScalars) -> dict[str, Tensor]:
    """1 for the operation drawn on each edge, 0 elsewhere; differentiable in every alpha."""
    return {name: _one_hot(alpha, scalars[TEMPERATURE]) for name, alpha in alphas.items()}


def gumbel_softmax(alpha: Tensor, temperature: Tensor) -> Tensor:
    """A relaxed draw of an operation for each edge: (edges, operations)."""
    noise = -torch.empty_like(alpha).exponential_().log()
    return ((alpha.log_softmax(dim=1) + noise) / temperature).softmax(dim=1)


def _one_hot(alpha: Tensor, temperature: Tensor) -> Tensor:
    soft = gumbel_softmax(alpha, temperature)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return torch.where(hard > 0, 1 + (soft - soft.detach()), soft - soft.detach())


GDAS = replace(
    DARTS,
    name="gdas",
    summary="every pass samples one operation an edge, and computes no other",
    paper="https://arxiv.org/abs/1910.04465",
    settings={"epochs": 250},
    traits=frozenset({Trait.DRAWN_WEIGHTS}),
    conflicts={Trait.EDGE_WEIGHTS: "it draws operations, and no edges"},
    schedules={TEMPERATURE: lambda epoch, epochs: 10 - 9.9 * epoch / max(1, epochs - 1)},
    sample=one_hot_sample,
    sparse=True,
)
