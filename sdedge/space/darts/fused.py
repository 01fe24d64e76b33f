"""A cell of the supernet in fused operators: the plain cell's mathematics, modules and buffers.

What the plain cell does edge by edge is done source by source: pools, rectified pixels and launches
are shared by all edges that leave a source, raw outputs go straight into the sum of a node, and no
normalised map is stored.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdedge.kernels import Impl, pools, separable
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.space.bypass import Edges, Source
from sdedge.space.darts.cell import NODES, edge_index
from sdedge.space.darts.operations import FactorizedReduce, reduction_halves
from sdedge.space.dropout import dropped
from sdedge.space.node import Term, no_operation, node_sum
from sdedge.space.statistics import RunningStatistics

if TYPE_CHECKING:
    from sdedge.space.darts.supernet import SearchCell
    from sdedge.space.supernet import Active

_SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
_POOLS = ("max_pool_3x3", "avg_pool_3x3")
_SKIPS = ("skip_connect", "auxiliary_skip")
# Its raw outputs are an eighth of what a pass would save; its one convolution is quick to repeat.
_COMPUTED_ANEW = "dil_conv_3x3"


def fused_cell(
    cell: "SearchCell",
    r0: Tensor,
    r1: Tensor,
    weights: Tensor,
    active: "Active | None",
    running: RunningStatistics,
    impl: Impl,
    *,
    scalars: bool = False,
    skip_dropout: Tensor | None = None,
) -> Tensor:
    """`sdedge.space.supernet.SearchCell.forward` for inputs that are rectified already."""
    states = list(cell.preprocess.of_rectified(r0, r1))
    sources: list[Source] = []
    terms: dict[int, list[Term]] = defaultdict(list)  # by node
    for node in range(NODES):
        for number in range(len(sources), len(states)):
            sources.append(cell.split.read(states[number], number))
            edges = {
                edge_index(target, number): target for target in range(max(0, number - 1), NODES)
            }
            read = sources[number].operated
            for term in _source(cell, read, list(edges), active, running, impl, skip_dropout):
                terms[edges[term.edge]].append(term)
        node_terms = sorted(terms.pop(node, []), key=lambda term: term[:2])
        if not node_terms and not scalars:
            raise no_operation()
        entering = range(edge_index(node, 0), edge_index(node + 1, 0))
        states.append(
            node_sum(
                node_terms,
                Edges(entering, sources, cell.strides, weights),
                cell.split,
                scalars=scalars,
                training=running.training,
                impl=impl,
            )
        )
    return torch.cat(states[-NODES:], dim=1)


def _source(
    cell: "SearchCell",
    x: Tensor,
    edges: Sequence[int],
    active: "Active | None",
    running: RunningStatistics,
    impl: Impl,
    skip_dropout: Tensor | None,
) -> Iterator[Term]:
    """All terms of the edges that leave a source of values x: (N, C, H, W)."""
    chosen: dict[str, list[int]] = {
        name: [e for e in edges if active is None or active[e][k]]
        for k, name in enumerate(cell.operations)
    }
    stride = cell.strides[edges[0]]
    for name in _SEPARABLE:
        if chosen[name]:
            yield from _separable(cell, name, x, chosen[name], stride, running, impl)
    if any(chosen[name] for name in _POOLS):
        pooled, found = pools(x, stride=stride, training=running.training, impl=impl)
        for i, name in enumerate(_POOLS):
            norms = [_stages(cell, e, name)[1] for e in chosen[name]]
            known = running.of(norms, [found[i]] * len(norms) if found else [], pooled[i])
            for e, statistics in zip(chosen[name], known, strict=True):
                yield Term(e, cell.operations.index(name), pooled[i], statistics)
    for name in _SKIPS:
        if chosen.get(name):
            yield from _skip(cell, name, x, chosen[name], stride, running, skip_dropout)


def _stages(cell: "SearchCell", edge: int, name: str) -> list[nn.Module]:
    """The modules of an operation, in their order."""
    return list(_operation(cell, edge, name).children())


def _operation(cell: "SearchCell", edge: int, name: str) -> nn.Module:
    return cell.edges[edge].get_submodule(str(cell.operations.index(name) - 1))


def _separable(
    cell: "SearchCell",
    name: str,
    x: Tensor,
    edges: Sequence[int],
    stride: int,
    running: RunningStatistics,
    impl: Impl,
) -> Iterator[Term]:
    """ReLU, depthwise, pointwise, batch norm; once or twice; the last batch norm is the node's."""
    stages = [_stages(cell, e, name) for e in edges]
    dilation = 2 if name.startswith("dil") else 1
    outputs: list[Tensor] = [x]
    statistics: list[Tensor] = []
    for start in range(0, len(stages[0]), 4):
        _, *convolutions, norms = zip(*(s[start : start + 4] for s in stages), strict=True)
        depthwise, pointwise = (
            [module.get_parameter("weight") for module in some] for some in convolutions
        )
        outputs, found = separable(
            outputs,
            depthwise,
            pointwise,
            statistics or None,
            stride=1 if start else stride,
            dilation=dilation,
            training=running.training,
            impl=impl,
        )
        statistics = running.of(norms, found, outputs[0])
    again = partial(separable, stride=stride, dilation=dilation, training=False, impl=impl)
    for i, e in enumerate(edges):
        branch = partial(again, [x.detach()], [depthwise[i]], [pointwise[i]])
        anew = branch if name == _COMPUTED_ANEW else None
        yield Term(e, cell.operations.index(name), outputs[i], statistics[i], anew)


def _skip(
    cell: "SearchCell",
    name: str,
    x: Tensor,
    edges: Sequence[int],
    stride: int,
    running: RunningStatistics,
    skip_dropout: Tensor | None,
) -> Iterator[Term]:
    number = cell.operations.index(name)
    if stride == 1:
        for e in edges:
            yield Term(e, number, dropped(x, skip_dropout), None)
        return
    even, odd = reduction_halves(x)
    for e in edges:
        reduction = _operation(cell, e, name)
        if not isinstance(reduction, FactorizedReduce):
            raise TypeError(f"edge {e} skips by {type(reduction).__name__} at stride 2")
        values = reduction.convolve(even, odd)
        found = [batch_statistics(values)] if running.training else []
        (known,) = running.of([reduction.bn], found, values)
        yield Term(e, number, values, known)
