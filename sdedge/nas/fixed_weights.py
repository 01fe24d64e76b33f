"""Mixing weights that a search fixes for good, one after the other, whatever alpha says."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas
from sdedge.space.supernet import MixingWeights

# Cell type -> (edges, operations): the weights that are fixed, and UNDECIDED elsewhere.
FixedWeights = Mapping[str, Tensor]
UNDECIDED = -1.0


def nothing_fixed(alphas: Alphas) -> dict[str, Tensor]:
    """UNDECIDED for every operation of every edge."""
    return {
        name: torch.full_like(alpha, UNDECIDED) for name, alpha in alphas.items() if alpha.ndim == 2
    }


def apply_fixed(weights: MixingWeights, fixed: FixedWeights) -> MixingWeights:
    """The mixing weights, with those that are fixed in their place."""
    applied = {
        name: torch.where(some == UNDECIDED, weights[name], some) for name, some in fixed.items()
    }
    return {**weights, **applied}
