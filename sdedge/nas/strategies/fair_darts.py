"""FairDARTS: no competition between operations (Chu et al., 2020), https://arxiv.org/abs/1911.12126

Each operation has a sigmoid of its own (section 4.1), and a zero-one loss drives each towards 0 or
1 (eq. 5). `none` is not an operation. The paper then drops operations below a threshold (section
4.3); here each node keeps its two strongest, as a derived network needs two.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas, edge_rows, normal_alphas
from sdedge.nas.scalars import ScheduledScalars
from sdedge.nas.strategies.darts import DARTS
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights

_NONE = 0  # in every space
_ZERO_ONE_WEIGHT = 10.0


def zeros(space: SearchSpace, device: torch.device) -> dict[str, Tensor]:
    """Every operation starts at one half."""
    return normal_alphas(space, device, mean=0.0, spread=0.0)


def sigmoids(alphas: Alphas) -> MixingWeights:
    """An independent sigmoid for each operation; 0 for `none`."""
    return {name: alpha.sigmoid() * _kept(alpha) for name, alpha in alphas.items()}


def zero_one_loss(alphas: Alphas, scalars: ScheduledScalars) -> Tensor:
    """-10 times the mean squared distance of all sigmoids from one half."""
    some = edge_rows(alphas)[:, _NONE + 1 :]
    return -_ZERO_ONE_WEIGHT * (some.sigmoid() - 0.5).square().mean()


def _kept(alpha: Tensor) -> Tensor:
    return (torch.arange(alpha.shape[1], device=alpha.device) != _NONE).to(alpha.dtype)


FAIR_DARTS = replace(
    DARTS,
    name="fair-darts",
    summary="a sigmoid for each operation, and a loss that drives each to 0 or 1",
    paper="https://arxiv.org/abs/1911.12126",
    settings={
        "batch_size": 128,
        "weight_lr": 0.005,
        "alpha_lr": 3e-3,
        "alpha_betas": (0.9, 0.999),
    },
    initial_alphas=zeros,
    relax=sigmoids,
    penalties=(zero_one_loss,),
)
