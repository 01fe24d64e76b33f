"""The mixed sum in plain torch; also what runs on the CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mixed_sum_reference(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """See `sdedge.kernels.mixed_sum.mixed_sum`."""
    dtype = torch.promote_types(inputs[0].dtype, torch.float32)
    first, *others = weights.to(dtype).unbind()
    total = inputs[0].to(dtype) * first
    for x, weight in zip(inputs[1:], others, strict=True):
        total += x.to(dtype) * weight  # in place: nothing in the graph needs the partial sums
    return total.to(inputs[0].dtype)
