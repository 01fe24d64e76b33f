"""A cell of the supernet in fused operators: the plain cell's mathematics, modules and buffers.

What the plain cell does edge by edge is done source by source: pools, rectified pixels and launches
are shared by all edges that leave a source, raw outputs go straight into the sum of a node, and no
normalised map is stored.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from sdedge.errors import KernelError
from sdedge.kernels import Impl, mixed_sum, pools, separable
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.space.bypass import operated, with_bypass
from sdedge.space.darts import NODES, edge_index
from sdedge.space.operations import FactorizedReduce, dropped, reduction_halves
from sdedge.space.statistics import RunningStatistics

if TYPE_CHECKING:
    from sdedge.space.supernet import Active, SearchCell

_SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
_POOLS = ("max_pool_3x3", "avg_pool_3x3")
_SKIPS = ("skip_connect", "auxiliary_skip")
# Its raw outputs are an eighth of what a pass would save; its one convolution is quick to repeat.
_COMPUTED_ANEW = "dil_conv_3x3"


_Outputs = tuple[list[Tensor], list[Tensor]]  # of `separable`


class Term(NamedTuple):
    """What one operation on one edge adds to a node."""

    edge: int
    operation: int
    values: Tensor  # (N, C, H, W), raw
    statistics: Tensor | None  # (2, C) to normalise with, or None: as it is
    anew: Callable[[], _Outputs] | None = None  # gives them to the backward pass; None: saved


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
    terms: dict[int, list[Term]] = defaultdict(list)  # by node
    for node in range(NODES):
        for source in range(len(states) - 1 if node else 0, len(states)):
            edges = {
                edge_index(target, source): target for target in range(max(0, source - 1), NODES)
            }
            read = operated(states[source], cell.partial)
            for term in _source(cell, read, list(edges), active, running, impl, skip_dropout):
                terms[edges[term.edge]].append(term)
        node_terms = sorted(terms.pop(node, []), key=lambda term: term[:2])
        rows = slice(edge_index(node, 0), edge_index(node + 1, 0))
        if node_terms:
            output = _node(node_terms, weights, running.training, impl)
        elif scalars:
            output = nothing(operated(states[0], cell.partial), cell.strides[0])
        else:
            raise no_operation()
        if scalars:
            output = output + zero_weights(weights[rows])
        if cell.partial > 1:
            output = with_bypass(output, states, cell.strides[rows], weights[rows])
        states.append(output)
    return torch.cat(states[-NODES:], dim=1)


def _node(terms: Sequence[Term], weights: Tensor, training: bool, impl: Impl) -> Tensor:
    mixing = pick(weights, [term[:2] for term in terms])
    anew = {term.values.data_ptr(): term.anew for term in terms if term.anew}
    with saved_tensors_hooks(lambda saved: anew.get(saved.data_ptr(), saved), _unpack):
        return mixed_sum(
            [term.values for term in terms],
            mixing,
            [term.statistics for term in terms],
            training=training,
            impl=impl,
        )


def _unpack(packed: Tensor | Callable[[], _Outputs]) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed()[0][0]


def nothing(source: Tensor, stride: int) -> Tensor:
    """A node without operations, in a cell whose inputs (N, C, H, W) are read at `stride`."""
    return torch.zeros_like(source[:, :, ::stride, ::stride])


def zero_weights(weights: Tensor) -> Tensor:
    """The sum of those weights that are zero: zero as well, with a gradient of one for each."""
    return weights.masked_fill(weights.detach() != 0, 0.0).sum()


def no_operation() -> KernelError:
    """A node that nothing flows into."""
    return KernelError("a node has no active operation; keep at least one on its edges")


def pick(weights: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
    """The mixing weights at (edge, operation), edges and then operations ascending: (K,)."""
    edges = slice(places[0][0], places[-1][0] + 1)
    everything = weights[edges, 1:].reshape(-1)
    if len(places) == len(everything):
        return everything
    return torch.stack([weights[place] for place in places])


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
