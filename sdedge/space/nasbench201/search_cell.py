"""A cell of the supernet of NAS-Bench-201, in its plain and its fused form.

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from sdedge.kernels import dispatch
from sdedge.kernels.dispatch import Route
from sdedge.operations import NAS_BENCH_201, NAS_BENCH_201_OPERATIONS, get_operation
from sdedge.space.bypass import ChannelSplit, Edges, FirstChannels, Source, split_channels
from sdedge.space.dropout import output_of
from sdedge.space.nasbench201.cell import EDGES, NODES
from sdedge.space.nasbench201.fused import Output, SharedInputs
from sdedge.space.node import Term, node_sum
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import Active


class Pass(NamedTuple):
    """What all cells of one forward pass need."""

    route: Route
    running: RunningStatistics
    active: Active | None
    keep_zero_weight_grad: bool
    skip_dropout: Tensor | None
    drop_path: Tensor | None


class SearchCell(nn.Module):
    """Four nodes, six edges, five operations on each, `none` among them.

    Operations read one in `partial` channels, as in `sdedge.space.darts.search_cell.SearchCell`.
    """

    def __init__(
        self,
        channels: int,
        operations: Sequence[str] = NAS_BENCH_201_OPERATIONS,
        partial: int = 1,
        split: type[ChannelSplit] = FirstChannels,
    ) -> None:
        super().__init__()
        self.operations = tuple(get_operation(name, NAS_BENCH_201) for name in operations)
        self.split = split_channels(split, channels, partial, sources=NODES - 1)
        self.edges = nn.ModuleList(
            nn.ModuleList(
                operation.module(channels // partial, search=True)
                for operation in self.operations[1:]
            )
            for _ in EDGES
        )

    def forward(self, x: Tensor, weights: Tensor, run: Pass) -> Tensor:
        """x: (N, C, H, W), weights: (6, 5) -> the shape of x."""
        states, sources, shared = [x], list[Source](), list[SharedInputs]()
        for node in range(1, NODES):
            sources.append(self.split.read(states[-1], node - 1))
            shared.append(SharedInputs(sources[-1].active, run.running, run.skip_dropout))
            into = [e for e, (target, _) in enumerate(EDGES) if target == node]
            terms = [
                Term(e, k, *self._output(e, k, shared[EDGES[e][1]], run))
                for e in into
                for k in range(1, weights.shape[1])
                if run.active is None or run.active[e][k]
            ]
            states.append(
                node_sum(
                    terms,
                    Edges(range(into[0], into[-1] + 1), sources, [1] * len(EDGES), weights),
                    self.split,
                    keep_zero_weight_grad=run.keep_zero_weight_grad,
                    training=run.running.training,
                    impl=run.route,
                )
            )
        return states[-1]

    def _output(self, edge: int, number: int, source: SharedInputs, run: Pass) -> Output:
        """What an operation makes and, if that is raw, the statistics to normalise it with.

        An operation without a fused form runs as the module that it is, and the record of the run
        says so.
        """
        module = self.edges[edge].get_submodule(str(number - 1))
        operation = self.operations[number]
        if run.route != "reference":
            if operation.fused_form:
                output: Output = operation.fused_form(module, source)
                return output
            device, dtype = source.x.device, source.x.dtype
            dispatch.choose(f"operation {operation.name}", "reference", device, dtype)
        return output_of(module, source.x, run.skip_dropout, run.drop_path), None
