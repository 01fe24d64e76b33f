"""The pools in plain torch."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.batch_norm import batch_statistics


def pools_reference(x: Tensor, stride: int, training: bool) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.pools.pools`."""
    pooled = [
        F.max_pool2d(x, 3, stride, 1),
        F.avg_pool2d(x, 3, stride, 1, count_include_pad=False),
    ]
    return pooled, [batch_statistics(z) for z in pooled] if training else []
