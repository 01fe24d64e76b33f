"""The network of a cell of NAS-Bench-201.

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from functools import partial as bound

import torch
from torch import Tensor, nn

from sdedge.operations import NAS_BENCH_201, get_operation
from sdedge.space.nasbench201.cell import EDGES, NODES, Nb201Cell
from sdedge.space.nasbench201.skeleton import Skeleton


class DerivedCell(nn.Module):
    """A cell with one operation an edge; a node that nothing flows into is zero."""

    def __init__(self, cell: Nb201Cell, channels: int) -> None:
        super().__init__()
        operations = (get_operation(name, NAS_BENCH_201) for name in cell.operations)
        kept = [(e, operation) for e, operation in enumerate(operations) if operation.build]
        self.edges = [EDGES[e] for e, _ in kept]
        self.operations = nn.ModuleList(
            operation.module(channels, search=False) for _, operation in kept
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        nodes = [x]
        for node in range(1, NODES):
            terms: list[Tensor] = [
                operation(nodes[source])
                for (target, source), operation in zip(self.edges, self.operations, strict=True)
                if target == node
            ]
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[-1]


class Nb201Network(Skeleton):
    """The derived network, with affine batch norm: all that is counted is the benchmark's."""

    def __init__(
        self, cell: Nb201Cell, *, channels: int = 16, cells_per_stage: int = 5, classes: int = 10
    ) -> None:
        super().__init__(
            bound(DerivedCell, cell),
            channels=channels,
            cells_per_stage=cells_per_stage,
            classes=classes,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, H, W) normalised images -> (N, classes)."""
        return self.logits(self.features(x, lambda cell, values: cell(values)))
