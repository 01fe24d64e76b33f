"""A cell of the supernet in fused operators: the plain cell's mathematics, modules and buffers.

What the plain cell does edge by edge is done source by source: pools, rectified pixels and launches
are shared by all edges that leave a source, raw outputs go straight into the sum of a node, and no
normalised map is stored. A form is a function from `OutgoingEdges`, those that leave a source and
have one of the operations of that form, to a term for each; an operation without a form runs as the
module that it is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from sdedge.kernels import Impl, dispatch, pools, separable
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.operations import get_operation
from sdedge.space.bypass import Edges, Source
from sdedge.space.darts.cell import NODES, edge_index
from sdedge.space.darts.operations import FactorizedReduce, reduction_halves
from sdedge.space.darts.search_cell import SearchCell
from sdedge.space.dropout import dropped, output_of
from sdedge.space.node import Term, no_operation, node_sum
from sdedge.space.statistics import RunningStatistics
from sdedge.space.supernet import Active


@dataclass(frozen=True, kw_only=True)
class OutgoingEdges:
    """Edges that leave one source, and which of some operations are computed on each."""

    cell: SearchCell
    x: Tensor  # (N, C, H, W): what operations read of the source
    stride: int  # of the edges
    edges: dict[str, list[int]]  # by operation
    running: RunningStatistics
    impl: Impl
    skip_dropout: Tensor | None

    def number(self, name: str) -> int:
        """The column of an operation in the mixing weights."""
        return self.cell.operations.index(name)

    def module(self, edge: int, name: str) -> nn.Module:
        """What computes an operation in the plain cell."""
        return self.cell.edges[edge].get_submodule(str(self.number(name) - 1))

    def stages(self, edge: int, name: str) -> list[nn.Module]:
        """The modules that it consists of, in their order."""
        return list(self.module(edge, name).children())


Form = Callable[[OutgoingEdges], Iterator[Term]]


def fused_cell(
    cell: SearchCell,
    r0: Tensor,
    r1: Tensor,
    weights: Tensor,
    active: Active | None,
    running: RunningStatistics,
    impl: Impl,
    *,
    keep_zero_weight_grad: bool = False,
    skip_dropout: Tensor | None = None,
) -> Tensor:
    """`SearchCell.forward` for inputs that are rectified already."""
    states = list(cell.preprocess.of_rectified(r0, r1))
    sources: list[Source] = []
    terms: dict[int, list[Term]] = defaultdict(list)  # by node
    for node in range(NODES):
        for number in range(len(sources), len(states)):
            sources.append(cell.split.read(states[number], number))
            edges = {
                edge_index(target, number): target for target in range(max(0, number - 1), NODES)
            }
            outgoing = OutgoingEdges(
                cell=cell,
                x=sources[number].active,
                stride=cell.strides[next(iter(edges))],
                edges={
                    name: [e for e in edges if active is None or active[e][k]]
                    for k, name in enumerate(cell.operations)
                },
                running=running,
                impl=impl,
                skip_dropout=skip_dropout,
            )
            for term in _all_terms(outgoing):
                terms[edges[term.edge]].append(term)
        node_terms = sorted(terms.pop(node, []), key=lambda term: term[:2])
        if not node_terms and not keep_zero_weight_grad:
            raise no_operation()
        entering = range(edge_index(node, 0), edge_index(node + 1, 0))
        states.append(
            node_sum(
                node_terms,
                Edges(entering, sources, cell.strides, weights),
                cell.split,
                keep_zero_weight_grad=keep_zero_weight_grad,
                training=running.training,
                impl=impl,
            )
        )
    return torch.cat(states[-NODES:], dim=1)


def _all_terms(outgoing: OutgoingEdges) -> Iterator[Term]:
    """All terms of the edges that leave a source, form by form."""
    operations = [get_operation(name) for name, edges in outgoing.edges.items() if edges]
    computed = [operation for operation in operations if operation.build is not None]
    # Those with weights first, as their launches take longest.
    computed.sort(key=lambda operation: not operation.has_weights)
    for form, group in groupby(computed, key=lambda operation: operation.fused_form):
        edges = {operation.name: outgoing.edges[operation.name] for operation in group}
        yield from (form or plain_terms)(replace(outgoing, edges=edges))


def plain_terms(outgoing: OutgoingEdges) -> Iterator[Term]:
    """Operations that have no form of their own: each module as it is."""
    for name, edges in outgoing.edges.items():
        # So the record of the run says it.
        dispatch.choose(f"operation {name}", "reference", outgoing.x.device, outgoing.x.dtype)
        for e in edges:
            values = output_of(outgoing.module(e, name), outgoing.x, outgoing.skip_dropout, None)
            yield Term(e, outgoing.number(name), values)


def pool_terms(outgoing: OutgoingEdges) -> Iterator[Term]:
    """3x3 maximum and average, both in one pass over the source; batch norm is the node's."""
    x, running = outgoing.x, outgoing.running
    outputs, batch = pools(x, stride=outgoing.stride, training=running.training, impl=outgoing.impl)
    for name, edges in outgoing.edges.items():
        i = _POOLS[type(outgoing.stages(edges[0], name)[0])]
        norms = [outgoing.stages(e, name)[1] for e in edges]
        statistics = running.of(norms, [batch[i]] * len(norms) if batch else [], outputs[i])
        for e, each in zip(edges, statistics, strict=True):
            yield Term(e, outgoing.number(name), outputs[i], each)


# In the order of the outputs of `pools`.
_POOLS: dict[type[nn.Module], int] = {nn.MaxPool2d: 0, nn.AvgPool2d: 1}


def separable_terms(outgoing: OutgoingEdges, *, recompute: bool = False) -> Iterator[Term]:
    """ReLU, depthwise, pointwise, batch norm; once or twice; the last batch norm is the node's."""
    for name, edges in outgoing.edges.items():
        yield from _separable(outgoing, name, edges, recompute)


def recomputed_separable_terms(outgoing: OutgoingEdges) -> Iterator[Term]:
    """The same for an operation of one stage, whose raw outputs the backward pass computes again.

    Those of dil_conv_3x3 are an eighth of what a pass would keep, and quick to compute.
    """
    return separable_terms(outgoing, recompute=True)


def _separable(
    outgoing: OutgoingEdges, name: str, edges: Sequence[int], recompute: bool
) -> Iterator[Term]:
    running, stride, impl = outgoing.running, outgoing.stride, outgoing.impl
    stages = [outgoing.stages(e, name) for e in edges]
    dilation = _dilation(stages[0][1])
    outputs: list[Tensor] = [outgoing.x]
    statistics: list[Tensor] = []
    for start in range(0, len(stages[0]), 4):
        _, *convolutions, norms = zip(*(s[start : start + 4] for s in stages), strict=True)
        depthwise, pointwise = (
            [module.get_parameter("weight") for module in some] for some in convolutions
        )
        outputs, batch = separable(
            outputs,
            depthwise,
            pointwise,
            statistics or None,
            stride=1 if start else stride,
            dilation=dilation,
            training=running.training,
            impl=impl,
        )
        statistics = running.of(norms, batch, outputs[0])
    again = partial(separable, stride=stride, dilation=dilation, training=False, impl=impl)
    for i, e in enumerate(edges):
        branch = partial(again, [outgoing.x.detach()], [depthwise[i]], [pointwise[i]])
        number = outgoing.number(name)
        yield Term(e, number, outputs[i], statistics[i], branch if recompute else None)


def _dilation(depthwise: nn.Module) -> int:
    if not isinstance(depthwise, nn.Conv2d):
        raise TypeError(f"a separable branch starts with {type(depthwise).__name__}")
    return depthwise.dilation[0]


def skip_terms(outgoing: OutgoingEdges) -> Iterator[Term]:
    """The source itself; at stride 2 a factorized reduction, whose batch norm is the node's."""
    if outgoing.stride == 1:
        for name, edges in outgoing.edges.items():
            for e in edges:
                yield Term(e, outgoing.number(name), dropped(outgoing.x, outgoing.skip_dropout))
        return
    for name, edges in outgoing.edges.items():
        even, odd = reduction_halves(
            outgoing.x
        )  # of each: the order of a sum decides its last bits
        for e in edges:
            reduction = outgoing.module(e, name)
            if not isinstance(reduction, FactorizedReduce):
                raise TypeError(f"edge {e} skips by {type(reduction).__name__} at stride 2")
            values = reduction.convolve(even, odd)
            batch = [batch_statistics(values)] if outgoing.running.training else []
            (statistics,) = outgoing.running.of([reduction.bn], batch, values)
            yield Term(e, outgoing.number(name), values, statistics)
