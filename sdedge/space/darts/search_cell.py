"""A cell of the supernet, in its plain form: every edge computes every operation.

`sdedge.space.darts.fused` computes the same from the same modules.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdedge.operations import DARTS_OPERATIONS, get_operation
from sdedge.space.bypass import ChannelSplit, Edges, FirstChannels, Source, split_channels
from sdedge.space.darts.cell import NODES, CellSpec
from sdedge.space.darts.skeleton import CellInputs
from sdedge.space.dropout import output_of
from sdedge.space.node import Term, no_operation, node_sum
from sdedge.space.supernet import Active


class MixedEdge(nn.ModuleList):
    """All operations of one edge but `none`: its output is zero, as is its weight's gradient."""

    def __init__(self, channels: int, stride: int, operations: Sequence[str]) -> None:
        super().__init__(
            get_operation(name).module(channels, stride, search=True) for name in operations[1:]
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
        keep_zero_weight_grad: bool = False,
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
                    source.active, row, skip_dropout=skip_dropout, drop_path=drop_path
                )
                used = [k for k in range(1, weights.shape[1]) if row is None or row[k]]
                terms += [Term(e, k, y) for k, y in zip(used, outputs, strict=True)]
            if not terms and not keep_zero_weight_grad:
                raise no_operation()
            states.append(
                node_sum(
                    terms,
                    Edges(entering, sources, self.strides, weights),
                    self.split,
                    keep_zero_weight_grad=keep_zero_weight_grad,
                    training=self.training,
                    impl="reference",
                )
            )
            first = entering.stop
        return torch.cat(states[-NODES:], dim=1)
