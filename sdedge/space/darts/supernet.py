"""The supernet: every edge computes every operation, and a node sums them all, weighted.

It takes the mixing weights as an input, so it never knows which algorithm made them.
"""

from collections.abc import Sequence
from typing import TypedDict, cast

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.kernels import Impl
from sdedge.kernels.dispatch import choose
from sdedge.operations import DARTS_OPERATIONS
from sdedge.space.bypass import ChannelSplit, FirstChannels
from sdedge.space.darts.cell import CELL_TYPES, EDGES, NODES, cell_specs
from sdedge.space.darts.fused import fused_cell
from sdedge.space.darts.search_cell import SearchCell
from sdedge.space.darts.skeleton import CifarStem
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import (
    ActiveOperations,
    AnySupernet,
    MixingWeights,
    SupernetOutput,
)

WEIGHT_SHAPE = (EDGES, len(DARTS_OPERATIONS))


class Extras(TypedDict):
    """What some strategies change in every cell."""

    keep_zero_weight_grad: bool
    skip_dropout: Tensor | None


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
        keep_zero_weight_grad: bool = False,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> SupernetOutput:
        """Score normalised images.

        Args:
            x: (N, 3, H, W).
            weights: one (14, 8) matrix a cell type.
            active: for each cell type 14 x 8; each node needs at least one operation.

        The other arguments are those of `AnySupernet.forward`.
        """
        if not self.training:
            skip_dropout = drop_path = None
        extras: Extras = {
            "keep_zero_weight_grad": keep_zero_weight_grad,
            "skip_dropout": skip_dropout,
        }
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
