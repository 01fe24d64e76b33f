"""The plain supernet: every edge computes every operation, and a node sums them all, weighted.

The supernet takes the mixing weights as an input, so it never knows which algorithm made them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdedge.genotype import DARTS_OPERATIONS
from sdedge.kernels import Impl, mixed_sum
from sdedge.space.darts import EDGES, NODES, CellInputs, CellSpec, CifarStem, cell_specs
from sdedge.space.operations import build_operation

# Cell type ("normal", "reduce") -> (EDGES, operations) mixing weights.
MixingWeights = Mapping[str, Tensor]
CELL_TYPES = ("normal", "reduce")
WEIGHT_SHAPE = (EDGES, len(DARTS_OPERATIONS))


class SupernetOutput(NamedTuple):
    """What one pass gives: class scores and the features that they were read from."""

    logits: Tensor  # (N, classes)
    features: Tensor  # (N, 16 * channels, H/4, W/4), the last cell's output


class MixedEdge(nn.ModuleList):
    """All operations of one edge but `none`: its output is zero, as is its weight's gradient."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(
            build_operation(name, channels, stride, search=True) for name in DARTS_OPERATIONS[1:]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of each operation for x: (N, C, H, W)."""
        return [operation(x) for operation in self]


class SearchCell(nn.Module):
    """Four nodes, fourteen edges, eight operations on each (DARTS, section 2.1 and eq. 2)."""

    def __init__(self, spec: CellSpec, *, impl: Impl) -> None:
        super().__init__()
        self.impl = impl
        self.preprocess = CellInputs(spec, affine=False)
        self.edges = nn.ModuleList()
        for node in range(NODES):
            for source in range(2 + node):
                stride = 2 if spec.reduction and source < 2 else 1
                self.edges.append(MixedEdge(spec.channels, stride))

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        """s0, s1: outputs of the two cells before; weights: (14, 8) -> (N, 4 * channels, H, W)."""
        states = list(self.preprocess(s0, s1))
        first = 0
        for _ in range(NODES):
            last = first + len(states)
            outputs = [
                output
                for state, edge in zip(states, list(self.edges)[first:last], strict=True)
                for output in edge(state)
            ]
            states.append(mixed_sum(outputs, weights[first:last, 1:].reshape(-1), impl=self.impl))
            first = last
        return torch.cat(states[-NODES:], dim=1)


class Supernet(nn.Module):
    """The DARTS supernet: stem, cells, global average pooling, linear classifier.

    1,930,618 weights at 16 channels, 8 cells and 10 classes.
    """

    def __init__(
        self, *, channels: int = 16, cells: int = 8, classes: int = 10, impl: Impl = "auto"
    ) -> None:
        super().__init__()
        self.stem = CifarStem(channels)
        specs = list(
            cell_specs(
                c_stem=self.stem.out_channels,
                channels=channels,
                cells=cells,
                multipliers=(NODES, NODES),
            )
        )
        self.cells = nn.ModuleList(SearchCell(spec, impl=impl) for spec in specs)
        self.cell_types = [CELL_TYPES[spec.reduction] for spec in specs]
        self.feature_channels = NODES * specs[-1].channels
        self.classifier = nn.Linear(self.feature_channels, classes)

    def forward(self, x: Tensor, weights: MixingWeights) -> SupernetOutput:
        """x: (N, 3, H, W) normalised images; weights: one (14, 8) matrix a cell type."""
        s0, s1 = self.stem(x)
        for cell, cell_type in zip(self.cells, self.cell_types, strict=True):
            s0, s1 = s1, cell(s0, s1, weights[cell_type])
        return SupernetOutput(self.classifier(s1.mean(dim=(2, 3))), s1)
