"""What flows into a node of a cell, in every space and in both forms of the supernet."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sdedge.errors import KernelError
from sdedge.kernels import Impl, mixed_sum
from sdedge.space.bypass import ChannelSplit, Edges

_Outputs = tuple[list[Tensor], list[Tensor]]  # of `separable`


class Term(NamedTuple):
    """What one operation on one edge adds to a node."""

    edge: int
    operation: int
    values: Tensor  # (N, C, H, W), raw where there are statistics
    statistics: Tensor | None = None  # (2, C) to normalise with, or None: as it is
    recompute: Callable[[], _Outputs] | None = None  # for the backward pass; None: values are kept


def node_sum(
    terms: Sequence[Term],
    edges: Edges,
    split: ChannelSplit,
    *,
    keep_zero_weight_grad: bool,
    training: bool,
    impl: Impl,
) -> Tensor:
    """The node that `edges` enter: (N, C, H, W).

    Args:
        terms: by edge and operation, ascending; an edge may have none, and adds nothing then.
        split: which channels the terms were made of.
        keep_zero_weight_grad: add every weight that is zero as well, as a scalar.
        training: whether statistics are those of the batch.
    """

    def mixed(some: range) -> Tensor:
        chosen = [term for term in terms if term.edge in some]
        if chosen:
            total = _mixed_sum(chosen, edges.weights, training, impl)
        else:
            read = edges.sources[edges.numbers.index(some.start)].active
            total = _nothing(read, edges.strides[some.start])
        rows = edges.weights[some.start : some.stop]
        return total + _zero_weights(rows) if keep_zero_weight_grad else total

    return split.join(edges, mixed)


def no_operation() -> KernelError:
    """A node that nothing flows into, in a space that has none."""
    return KernelError("a node has no active operation; keep at least one on its edges")


def _mixed_sum(terms: Sequence[Term], weights: Tensor, training: bool, impl: Impl) -> Tensor:
    mixing = _pick(weights, [term[:2] for term in terms])
    recompute = {term.values.data_ptr(): term.recompute for term in terms if term.recompute}
    not_kept = saved_tensors_hooks(lambda saved: recompute.get(saved.data_ptr(), saved), _unpack)
    with not_kept if recompute else nullcontext():
        return mixed_sum(
            [term.values for term in terms],
            mixing,
            [term.statistics for term in terms],
            training=training,
            impl=impl,
        )


def _unpack(packed: Tensor | Callable[[], _Outputs]) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed()[0][0]


def _nothing(source: Tensor, stride: int) -> Tensor:
    """The sum of no operation on a source (N, C, H, W) that is read at `stride`."""
    return torch.zeros_like(source[:, :, ::stride, ::stride])


def _zero_weights(weights: Tensor) -> Tensor:
    """The sum of those weights that are zero: zero as well, with a gradient of one for each."""
    return weights.masked_fill(weights.detach() != 0, 0.0).sum()


def _pick(weights: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
    """The mixing weights at (edge, operation), edges and then operations ascending: (K,)."""
    edges = slice(places[0][0], places[-1][0] + 1)
    everything = weights[edges, 1:].reshape(-1)
    if len(places) == len(everything):
        return everything
    return torch.stack([weights[place] for place in places])
