"""SNAS: stochastic neural architecture search (Xie et al., 2019), https://arxiv.org/abs/1812.09926

Every pass mixes operations by a relaxed sample, the Gumbel softmax, whose temperature falls (eq. 3
and 4); alpha and the weights learn from the same batch, at one level (section 2.3).
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas, normal_alphas
from sdedge.nas.scalars import ScheduledScalars
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategies.gdas import TEMPERATURE, gumbel_softmax
from sdedge.nas.traits import Trait
from sdedge.space.space import SearchSpace

_COLDEST = 0.03


def around_one(space: SearchSpace, device: torch.device) -> dict[str, Tensor]:
    """N(1, 0.01^2), the authors' start, in logarithms of probabilities up to a constant."""
    return normal_alphas(space, device, mean=1.0, spread=0.01)


def relaxed_sample(alphas: Alphas, scalars: ScheduledScalars) -> dict[str, Tensor]:
    """Softmax of alpha and Gumbel noise at the present temperature."""
    return {name: gumbel_softmax(alpha, scalars[TEMPERATURE]) for name, alpha in alphas.items()}


SNAS = replace(
    DARTS,
    name="snas",
    summary="every pass mixes by a relaxed sample; alpha learns from the training batch",
    paper="https://arxiv.org/abs/1812.09926",
    settings={"epochs": 150},
    traits=frozenset({Trait.DRAWN_WEIGHTS}),
    conflicts={Trait.EDGE_WEIGHTS: "it draws operations, and no edges"},
    schedules={TEMPERATURE: lambda epoch, epochs: 1 - (1 - _COLDEST) * epoch / epochs},
    single_level=True,
    initial_alphas=around_one,
    sample=relaxed_sample,
)
