"""Architecture parameters of the DARTS space."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sdedge.space.supernet import CELL_TYPES, WEIGHT_SHAPE

# Cell type -> (14 edges, 8 operations) logits, shared by all cells of the type.
Alphas = Mapping[str, Tensor]


def initial_alphas(device: torch.device) -> dict[str, Tensor]:
    """Near-uniform logits, 1e-3 * N(0, 1), that require a gradient (DARTS, section A.1.2).

    Drawn on the CPU, so that a seed means the same start on every device.
    """
    return {
        name: (1e-3 * torch.randn(WEIGHT_SHAPE)).to(device).requires_grad_() for name in CELL_TYPES
    }


def mixing_entropy(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean entropy of the mixing weights over the edges of each cell type, in nats.

    It falls from log 8 = 2.08 towards 0 as the search makes up its mind.
    """
    return {
        name: float(-(w * w.clamp_min(1e-12).log()).sum(dim=1).mean())
        for name, w in weights.items()
    }
