"""The supernet of NAS-Bench-201, which mixes all operations on every edge.

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from collections.abc import Sequence

from torch import Tensor

from sdedge.kernels import Impl
from sdedge.kernels.dispatch import choose
from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.space.bypass import ChannelSplit, FirstChannels
from sdedge.space.nasbench201.cell import CELL_TYPE
from sdedge.space.nasbench201.search_cell import Pass, SearchCell
from sdedge.space.nasbench201.skeleton import Skeleton
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import (
    ActiveOperations,
    AnySupernet,
    MixingWeights,
    SupernetOutput,
)


class Nb201Supernet(Skeleton, AnySupernet):
    """All operations on every edge, mixed; called as `sdedge.space.darts.supernet.Supernet` is.

    1,692,826 weights at 16 channels, 5 cells a stage and 10 classes. The batch norms of the cells
    are not affine, those of stem, residual blocks and head are.
    """

    def __init__(
        self,
        *,
        channels: int = 16,
        cells_per_stage: int = 5,
        classes: int = 10,
        impl: Impl = "auto",
        operations: Sequence[str] = NAS_BENCH_201_OPERATIONS,
        partial: int = 1,
        split: type[ChannelSplit] = FirstChannels,
    ) -> None:
        super().__init__(
            lambda width: SearchCell(width, operations, partial, split),
            channels=channels,
            cells_per_stage=cells_per_stage,
            classes=classes,
        )
        self.impl: Impl = impl

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
            weights: {"cell": (6, 5)}, shared by all cells.
            active: which operations to compute, {"cell": 6 x 5}; None: all. The others count as
                zero, and their weights get no gradient. A node may have none, as in a derived cell.
            keep_zero_weight_grad: add every weight that is zero to its node all the same, so that
                it gets the gradient of a scalar (GDAS).
            skip_dropout: share of the values of a skip that are dropped in training.
            drop_path: share of the samples that each other operation drops in training, in the
                plain supernet, as in `sdedge.space.darts.supernet.Supernet`.

        Returns:
            logits (N, classes), and features (N, 4C, H/4, W/4), before the last batch norm.
        """
        if not self.training:
            skip_dropout = drop_path = None
        impl = self.impl if drop_path is None else "reference"
        route = choose("supernet", impl, x.device, x.dtype, cpu=True)
        run = Pass(
            route,
            RunningStatistics(training=self.training),
            None if active is None else active[CELL_TYPE],
            keep_zero_weight_grad,
            skip_dropout,
            drop_path,
        )
        mixing = weights[CELL_TYPE]
        features = self.features(x, lambda cell, values: cell(values, mixing, run))
        run.running.update()
        return SupernetOutput(self.logits(features), features)
