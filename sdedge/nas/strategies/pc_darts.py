"""PC-DARTS: partial channels and edge weights (Xu et al., 2020), https://arxiv.org/abs/1907.05737

Operations read a quarter of the channels (section 3.2), and a second softmax weighs the edges of a
node against each other (edge normalisation, section 3.3); what is derived is the product.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.alphas import Alphas, initial_alphas
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.traits import Trait
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights


def alphas_and_edge_weights(space: SearchSpace, device: torch.device) -> dict[str, Tensor]:
    """Logits of the operations of a cell type, and, for each node, of the edges that enter it."""
    edges = {
        f"{name}_edges_{node}": (1e-3 * torch.randn(inputs)).to(device).requires_grad_()
        for name in space.cell_types
        for node, inputs in enumerate(space.inputs)
    }
    return {**initial_alphas(space, device), **edges}


def edge_normalised(alphas: Alphas) -> MixingWeights:
    """Softmax over the operations of an edge, times softmax over the edges of a node."""
    return {
        name: alpha.softmax(dim=1) * over_edges(alphas, name)[:, None]
        for name, alpha in alphas.items()
        if alpha.ndim == 2
    }


def over_edges(alphas: Alphas, cell_type: str) -> Tensor:
    """Softmax within the edges that enter each node: (edges,), node-major."""
    nodes = (alpha for name, alpha in alphas.items() if name.startswith(f"{cell_type}_edges_"))
    return torch.cat([logits.softmax(dim=0) for logits in nodes])


PC_DARTS = replace(
    DARTS,
    name="pc-darts",
    summary="operations read a quarter of the channels; edges are weighed against each other",
    paper="https://arxiv.org/abs/1907.05737",
    settings={
        "batch_size": 256,
        "weight_lr": 0.1,
        "weight_lr_min": 0.0,
        "alpha_lr": 6e-4,
        "alpha_warmup": 0.3,  # 15 of 50 epochs
    },
    traits=frozenset({Trait.EDGE_WEIGHTS}),
    partial=4,
    initial_alphas=alphas_and_edge_weights,
    relax=edge_normalised,
)
