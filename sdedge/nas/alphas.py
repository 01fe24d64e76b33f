"""Architecture parameters."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sdedge.space.space import SearchSpace

# Cell type -> (edges, operations) logits, shared by all cells of the type; a strategy may add
# vectors to these matrices.
Alphas = Mapping[str, Tensor]


RELATIVE = "alpha_relative_entropy_"  # and a cell type: in the records of a search


def normal_alphas(
    space: SearchSpace, device: torch.device, *, mean: float, spread: float
) -> dict[str, Tensor]:
    """Logits drawn from N(mean, spread^2), that require a gradient.

    Drawn on the CPU, so that a seed means the same start on every device.
    """
    shape = (space.edges, len(space.operations))
    return {
        name: (mean + spread * torch.randn(shape)).to(device).requires_grad_()
        for name in space.cell_types
    }


def initial_alphas(space: SearchSpace, device: torch.device) -> dict[str, Tensor]:
    """Near-uniform logits, 1e-3 * N(0, 1) (DARTS, section A.1.2)."""
    return normal_alphas(space, device, mean=0.0, spread=1e-3)


def edge_rows(alphas: Alphas) -> Tensor:
    """The logits of the edges of all cell types, one below the other: (edges, operations)."""
    return torch.cat([alpha for alpha in alphas.values() if alpha.ndim == 2])


def relative_entropy(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean entropy of the edges' shares of mixing weight, as a share of uniform ones' entropy.

    Weights that do not add up to 1, such as sigmoids, are brought to it. Near 1, alpha has told no
    operation from another.
    """
    shares = {}
    for name, w in weights.items():
        normalised = w / w.sum(dim=1, keepdim=True).clamp_min(1e-12)
        entropy = next(iter(mixing_entropy({name: normalised}).values()))
        shares[name] = entropy / math.log(w.shape[1])
    return shares


def mixing_entropy(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean entropy of the mixing weights over the edges of each cell type, in nats.

    It falls from the logarithm of the number of operations towards 0 as alpha makes up its mind.
    """
    return {
        name: float(-(w * w.clamp_min(1e-12).log()).sum(dim=1).mean())
        for name, w in weights.items()
    }
