"""The supernet: every edge computes every operation, and a node sums them all, weighted.

It takes the mixing weights as an input, so it never knows which algorithm made them. What is
written here is its plain form; `sdedge.space.darts.fused` computes the same from the same modules.
"""

from collections.abc import Sequence
from typing import TypedDict, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.genotype import DARTS_OPERATIONS
from sdedge.kernels import Impl
from sdedge.kernels.dispatch import choose
from sdedge.space.bypass import ChannelSplit, Edges, FirstChannels, Source, split_channels
from sdedge.space.darts.cell import EDGES, NODES, CellSpec, cell_specs
from sdedge.space.darts.fused import fused_cell
from sdedge.space.darts.operations import build_operation
from sdedge.space.darts.skeleton import CellInputs, CifarStem
from sdedge.space.dropout import output_of
from sdedge.space.node import Term, no_operation, node_sum
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import (
    Active,
    ActiveOperations,
    AnySupernet,
    MixingWeights,
    SupernetOutput,
)

CELL_TYPES = ("normal", "reduce")
WEIGHT_SHAPE = (EDGES, len(DARTS_OPERATIONS))


class Extras(TypedDict):
    """What some strategies change in every cell."""

    scalars: bool
    skip_dropout: Tensor | None


class MixedEdge(nn.ModuleList):
    """All operations of one edge but `none`: its output is zero, as is its weight's gradient."""

    def __init__(self, channels: int, stride: int, operations: Sequence[str]) -> None:
        super().__init__(
            build_operation(name, channels, stride, search=True) for name in operations[1:]
        )

    def forward(
        self,
        x: Tensor,
        active: Sequence[bool] | None = None,
        *,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> list[Tensor]:
        """The output for x: (N, C, H, W) of each operation, or of those that are active."""
        chosen = [op for k, op in enumerate(self, 1) if active is None or active[k]]
        return [output_of(op, x, skip_dropout, drop_path) for op in chosen]


class SearchCell(nn.Module):
    """Four nodes, fourteen edges, eight operations on each (DARTS, section 2.1 and eq. 2).

    Operations read one in `partial` channels, those that `split` says; the others go past them.
    """

    def __init__(
        self,
        spec: CellSpec,
        operations: Sequence[str] = DARTS_OPERATIONS,
        partial: int = 1,
        split: type[ChannelSplit] = FirstChannels,
    ) -> None:
        super().__init__()
        self.operations = tuple(operations)
        self.split = split_channels(split, spec.channels, partial, sources=NODES + 1)
        self.preprocess = CellInputs(spec, affine=False)
        self.strides = [
            2 if spec.reduction and source < 2 else 1
            for node in range(NODES)
            for source in range(2 + node)
        ]
        self.edges = nn.ModuleList(
            MixedEdge(spec.channels // partial, stride, operations) for stride in self.strides
        )

    def forward(
        self,
        s0: Tensor,
        s1: Tensor,
        weights: Tensor,
        active: Active | None = None,
        *,
        scalars: bool = False,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> Tensor:
        """s0, s1: outputs of the two cells before; weights: (14, 8) -> (N, 4 * channels, H, W)."""
        states = list(self.preprocess(s0, s1))
        sources: list[Source] = []
        first = 0
        for _ in range(NODES):
            sources += [self.split.read(states[n], n) for n in range(len(sources), len(states))]
            entering = range(first, first + len(states))
            terms = []
            for e, source in zip(entering, sources, strict=True):
                row = None if active is None else active[e]
                outputs = self.edges[e](
                    source.operated, row, skip_dropout=skip_dropout, drop_path=drop_path
                )
                used = [k for k in range(1, weights.shape[1]) if row is None or row[k]]
                terms += [Term(e, k, y) for k, y in zip(used, outputs, strict=True)]
            if not terms and not scalars:
                raise no_operation()
            states.append(
                node_sum(
                    terms,
                    Edges(entering, sources, self.strides, weights),
                    self.split,
                    scalars=scalars,
                    training=self.training,
                    impl="reference",
                )
            )
            first = entering.stop
        return torch.cat(states[-NODES:], dim=1)


class Supernet(AnySupernet):
    """The DARTS supernet: stem, cells, global average pooling, linear classifier.

    1,930,618 weights at 16 channels, 8 cells and 10 classes.
    """

    def __init__(
        self,
        *,
        channels: int = 16,
        cells: int = 8,
        classes: int = 10,
        impl: Impl = "auto",
        operations: Sequence[str] = DARTS_OPERATIONS,
        partial: int = 1,
        split: type[ChannelSplit] = FirstChannels,
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
        self.impl: Impl = impl
        self.operations = tuple(operations)
        self.cells = nn.ModuleList(SearchCell(spec, operations, partial, split) for spec in specs)
        self.cell_types = [CELL_TYPES[spec.reduction] for spec in specs]
        self.feature_channels = NODES * specs[-1].channels
        self.classifier = nn.Linear(self.feature_channels, classes)

    def forward(
        self,
        x: Tensor,
        weights: MixingWeights,
        active: ActiveOperations | None = None,
        *,
        scalars: bool = False,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> SupernetOutput:
        """Score normalised images.

        Args:
            x: (N, 3, H, W).
            weights: one (14, 8) matrix a cell type.
            active: which operations to compute, for each cell type 14 x 8; None: all. The others
                count as zero, and their weights get no gradient. Each node needs at least one.
            scalars: add every weight that is zero to its node all the same, so that it gets the
                gradient of a scalar (GDAS); a node may then have no active operation.
            skip_dropout: share of the values of an identity skip that are dropped in training.
            drop_path: share of the samples that each other operation drops in training; the plain
                supernet runs then, as a fused sum normalises what it should drop.
        """
        if not self.training:
            skip_dropout = drop_path = None
        extras: Extras = {"scalars": scalars, "skip_dropout": skip_dropout}
        impl = self.impl if drop_path is None else "reference"
        route = choose("supernet", impl, x.device, x.dtype, cpu=True)
        s0, s1 = self.stem(x)
        steps = [
            (cast(SearchCell, cell), weights[kind], None if active is None else active[kind])
            for cell, kind in zip(self.cells, self.cell_types, strict=True)
        ]
        if route == "reference":
            for cell, mixing, chosen in steps:
                s0, s1 = s1, cell(s0, s1, mixing, chosen, drop_path=drop_path, **extras)
        else:
            running = RunningStatistics(training=self.training)
            r0: Tensor | None = None  # both outputs of the stem are one tensor
            for cell, mixing, chosen in steps:
                r1 = F.relu(s1)
                inputs = (r1 if r0 is None else r0, r1)
                s1 = fused_cell(cell, *inputs, mixing, chosen, running, route, **extras)
                r0 = r1
            running.update()
        return SupernetOutput(self.classifier(s1.mean(dim=(2, 3))), s1)
