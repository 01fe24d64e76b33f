"""The separable branches in plain torch."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.batch_norm import batch_statistics, normalise


def separable_reference(
    inputs: list[Tensor],
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    statistics: list[Tensor] | None,
    stride: int,
    dilation: int,
    training: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.separable.separable`."""
    if statistics is not None:
        inputs = [
            normalise(x, s, training=training) for x, s in zip(inputs, statistics, strict=True)
        ]
    rectified = [F.relu(x) for x in inputs] * (len(depthwise) // len(inputs))
    outputs = []
    for x, d, p in zip(rectified, depthwise, pointwise, strict=True):
        padding = dilation * (d.shape[-1] // 2)
        spread = F.conv2d(x, d.to(x.dtype), None, stride, padding, dilation, groups=x.shape[1])
        outputs.append(F.conv2d(spread, p.to(x.dtype)))
    return outputs, [batch_statistics(z) for z in outputs] if training else []
