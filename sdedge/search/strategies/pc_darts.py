"""PC-DARTS: partial channels and edge weights (Xu et al., 2020), https://arxiv.org/abs/1907.05737

Operations read a quarter of the channels (section 3.2), and a second softmax weighs the edges of a
node against each other (edge normalisation, section 3.3); what is derived is the product.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge.search.alphas import Alphas, initial_alphas
from sdedge.search.strategies.darts import DARTS
from sdedge.space.darts import EDGES, NODES
from sdedge.space.supernet import CELL_TYPES, MixingWeights

_EDGE_WEIGHTS = "edges_"  # before the cell type


def alphas_and_edge_weights(device: torch.device) -> dict[str, Tensor]:
    """Logits of the operations, (14, 8), and of the edges, (14,), of each cell type."""
    edges = {
        _EDGE_WEIGHTS + name: (1e-3 * torch.randn(EDGES)).to(device).requires_grad_()
        for name in CELL_TYPES
    }
    return {**initial_alphas(device), **edges}


def edge_normalised(alphas: Alphas) -> MixingWeights:
    """Softmax over the operations of an edge, times softmax over the edges of a node."""
    return {
        name: alphas[name].softmax(dim=1) * over_edges(alphas[_EDGE_WEIGHTS + name])[:, None]
        for name in CELL_TYPES
    }


def over_edges(logits: Tensor) -> Tensor:
    """Softmax within the edges that enter each node: (14,), node-major."""
    sources = [2 + node for node in range(NODES)]
    return torch.cat([some.softmax(dim=0) for some in torch.split(logits, sources)])


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
        "alpha_rest": 0.3,  # 15 of 50 epochs
    },
    partial=4,
    initial_alphas=alphas_and_edge_weights,
    relax=edge_normalised,
)
