"""The supernet of NAS-Bench-201, in its plain and its fused form.

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.kernels import Impl
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.kernels.dispatch import Route, choose
from sdedge.space.bypass import ChannelSplit, Edges, FirstChannels, Source, split_channels
from sdedge.space.dropout import dropped, output_of
from sdedge.space.nasbench201.cell import CELL_TYPE, EDGES, NODES, OPERATIONS
from sdedge.space.nasbench201.operations import build_operation
from sdedge.space.nasbench201.skeleton import Skeleton
from sdedge.space.node import Term, node_sum
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import (
    Active,
    ActiveOperations,
    AnySupernet,
    MixingWeights,
    SupernetOutput,
)


class _Shared:
    """What operations on all edges that leave a source read: its operated channels, and more."""

    def __init__(self, source: Source) -> None:
        self.values = source.operated

    @cached_property
    def rectified(self) -> Tensor:
        return F.relu(self.values)

    @cached_property
    def averaged(self) -> Tensor:
        return F.avg_pool2d(self.values, 3, stride=1, padding=1, count_include_pad=False)


class _Pass(NamedTuple):
    """What all cells of one forward pass need."""

    route: Route
    running: RunningStatistics
    active: Active | None
    scalars: bool
    skip_dropout: Tensor | None
    drop_path: Tensor | None

    def output(self, operation: nn.Module, source: _Shared) -> tuple[Tensor, Tensor | None]:
        """What an operation makes and, if that is raw, the statistics to normalise it with.

        It is raw in the fused forms, and made from what the source shares.
        """
        if self.route == "reference":
            return output_of(operation, source.values, self.skip_dropout, self.drop_path), None
        if isinstance(operation, nn.Identity):
            return dropped(source.values, self.skip_dropout), None
        if isinstance(operation, nn.AvgPool2d):
            return source.averaged, None
        _, convolution, norm = operation.children()
        return self._convolved(convolution, norm, source.rectified)

    def _convolved(
        self, convolution: nn.Module, norm: nn.Module, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A convolution of x and the statistics of its batch norm, which takes the bias out.

        So in training the bias is not added, and gets no gradient, as its gradient is zero; the
        running mean still counts it, and out of training it is added.
        """
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        padding = weight.shape[-1] // 2
        if not self.running.training:
            values = F.conv2d(x, weight, bias, padding=padding)
            return values, self.running.of([norm], [], values)[0]
        values = F.conv2d(x, weight, padding=padding)
        found = batch_statistics(values)
        with_bias = found + F.pad(bias.detach()[None], (0, 0, 0, 1))  # on the mean alone
        self.running.of([norm], [with_bias], values)
        return values, found


class SearchCell(nn.Module):
    """Four nodes, six edges, five operations on each, `none` among them.

    Operations read one in `partial` channels, as in `sdedge.space.supernet.SearchCell`.
    """

    def __init__(
        self,
        channels: int,
        operations: Sequence[str] = OPERATIONS,
        partial: int = 1,
        split: type[ChannelSplit] = FirstChannels,
    ) -> None:
        super().__init__()
        self.split = split_channels(split, channels, partial, sources=NODES - 1)
        self.edges = nn.ModuleList(
            nn.ModuleList(
                build_operation(name, channels // partial, search=True) for name in operations[1:]
            )
            for _ in EDGES
        )

    def forward(self, x: Tensor, weights: Tensor, run: _Pass) -> Tensor:
        """x: (N, C, H, W), weights: (6, 5) -> the shape of x."""
        states, sources, shared = [x], list[Source](), list[_Shared]()
        for node in range(1, NODES):
            sources.append(self.split.read(states[-1], node - 1))
            shared.append(_Shared(sources[-1]))
            into = [e for e, (target, _) in enumerate(EDGES) if target == node]
            terms = [
                Term(e, k, *run.output(self._operation(e, k), shared[EDGES[e][1]]))
                for e in into
                for k in range(1, weights.shape[1])
                if run.active is None or run.active[e][k]
            ]
            states.append(
                node_sum(
                    terms,
                    Edges(range(into[0], into[-1] + 1), sources, [1] * len(EDGES), weights),
                    self.split,
                    scalars=run.scalars,
                    training=run.running.training,
                    impl=run.route,
                )
            )
        return states[-1]

    def _operation(self, edge: int, number: int) -> nn.Module:
        return self.edges[edge].get_submodule(str(number - 1))


class Nb201Supernet(Skeleton, AnySupernet):
    """All operations on every edge, mixed; called as `sdedge.space.supernet.Supernet` is.

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
        operations: Sequence[str] = OPERATIONS,
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
        scalars: bool = False,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> SupernetOutput:
        """Score normalised images.

        Args:
            x: (N, 3, H, W).
            weights: {"cell": (6, 5)}, shared by all cells.
            active: which operations to compute, {"cell": 6 x 5}; None: all. The others count as
                zero, and their weights get no gradient. A node may have none, as in a derived cell.
            scalars: add every weight that is zero to its node all the same, so that it gets the
                gradient of a scalar (GDAS).
            skip_dropout: share of the values of a skip that are dropped in training.
            drop_path: share of the samples that each other operation drops in training, in the
                plain supernet, as in `sdedge.space.supernet.Supernet`.

        Returns:
            logits (N, classes), and features (N, 4C, H/4, W/4), before the last batch norm.
        """
        if not self.training:
            skip_dropout = drop_path = None
        impl = self.impl if drop_path is None else "reference"
        route = choose("supernet", impl, x.device, x.dtype, cpu=True)
        run = _Pass(
            route,
            RunningStatistics(training=self.training),
            None if active is None else active[CELL_TYPE],
            scalars,
            skip_dropout,
            drop_path,
        )
        mixing = weights[CELL_TYPE]
        features = self.features(x, lambda cell, values: cell(values, mixing, run))
        run.running.update()
        return SupernetOutput(self.logits(features), features)
