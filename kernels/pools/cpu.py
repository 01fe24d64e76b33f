"""The pools on the CPU: the average is a depthwise convolution with ones, forward and backward.

The maximum is torch's, but keeps its indices in two bytes each where they fit, not in eight.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.batch_norm import batch_statistics
from sdedge.kernels.channels_last import channels_last, rows
from sdedge.kernels.dispatch import refuse_second_derivative
from sdedge.kernels.separable.depthwise import convolve, input_gradient


def pools_cpu(x: Tensor, stride: int, training: bool) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.pools.pools`."""
    x = channels_last(x)
    pooled = [_Maximum.apply(x, stride), _Average.apply(x, stride)]
    return pooled, [batch_statistics(z) for z in pooled] if training else []


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        y, indices = F.max_pool2d(x, 3, stride, 1, return_indices=True)
        pixels = x.shape[2] * x.shape[3]
        narrow = torch.int16 if pixels <= torch.iinfo(torch.int16).max else torch.int32
        ctx.stride = stride
        ctx.save_for_backward(x, indices.to(narrow))
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative("pools")
        x, indices = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            channels_last(g), x, [3, 3], [ctx.stride] * 2, [1, 1], [1, 1], False, indices.long()
        )
        return gradient, None


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.stride = stride
        return _divide_by_pixels_inside(convolve(x, _ones(x), stride, 1), x, stride)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative("pools")
        (x,) = ctx.saved_tensors
        shares = _divide_by_pixels_inside(channels_last(g).clone(), x, ctx.stride)
        return input_gradient(shares, x, _ones(x), ctx.stride, 1), None


def _ones(x: Tensor) -> Tensor:
    return torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)


def _divide_by_pixels_inside(y: Tensor, x: Tensor, stride: int) -> Tensor:
    """Divide each output pixel, in place, by how many pixels of x its window has."""
    inside = convolve(torch.ones(1, 1, *x.shape[2:], dtype=x.dtype), _ones(x)[:1], stride, 1)
    share = inside.reciprocal()[0, 0]  # (H', W')
    n, c, h, w = y.shape
    rows(y).view(n, h, w * c).mul_(share.repeat_interleave(c, dim=1).view(h, w * c))
    return y
