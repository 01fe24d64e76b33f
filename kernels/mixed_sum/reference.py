"""The mixed sum in plain torch."""

from collections.abc import Sequence

from torch import Tensor

from sdedge.kernels.batch_norm import normalise, statistics_dtype


def mixed_sum_reference(
    inputs: Sequence[Tensor],
    weights: Tensor,
    statistics: Sequence[Tensor | None] | None = None,
    training: bool = True,
) -> Tensor:
    """See `sdedge.kernels.mixed_sum.mixed_sum`."""
    dtype = statistics_dtype(inputs[0])
    terms = [x.to(dtype) for x in inputs]
    if statistics is not None:
        terms = [
            z if s is None else normalise(z, s, training=training)
            for z, s in zip(terms, statistics, strict=True)
        ]
    first, *others = weights.to(dtype).unbind()
    total = terms[0] * first
    for z, weight in zip(terms[1:], others, strict=True):
        total += z * weight  # in place: nothing in the graph needs the partial sums
    return total.to(inputs[0].dtype)
