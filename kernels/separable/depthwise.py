"""Gradients of a depthwise convolution on the CPU, by the forms that oneDNN is quick at.

A data gradient is a forward convolution with the flipped kernel, and a dilated kernel of stride 2
sees the even pixels alone (figures in benchmarks/README.md).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.channels_last import channels_last


def convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Depthwise convolution: (N, C, H, W), (C, 1, k, k) -> (N, C, H', W'), ceil(H / stride)."""
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def input_gradient(g: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Gradient of `convolve` for x, given that of its output."""
    if stride == 1:
        return convolve(g, weight.flip(2, 3), 1, dilation)
    if (stride, dilation) == (2, 2):  # every tap falls on an even pixel
        gradient = torch.zeros_like(x)
        gradient[:, :, ::2, ::2] = convolve(g, weight.flip(2, 3), 1, 1)
        return gradient
    return _convolution_backward(g, x, weight, stride, dilation, (True, False, False))


def weight_gradients(
    x: Tensor, gs: list[Tensor], weight: Tensor, stride: int, dilation: int
) -> list[Tensor]:
    """Gradients of `convolve` for kernels like `weight` that all read x, one for each output's."""
    if (stride, dilation) == (2, 2):
        return weight_gradients(channels_last(x[:, :, ::2, ::2]), gs, weight, 1, 1)
    if (stride, dilation, weight.shape[-1]) == (1, 2, 3):
        return weight_gradients(_phases(x), [_phases(g) for g in gs], weight, 1, 1)
    return [_convolution_backward(g, x, weight, stride, dilation, (False, True, False)) for g in gs]


def _phases(x: Tensor) -> Tensor:
    """The 2x2 grid of every other pixel, stacked: (N, C, H, W) -> (4N, C, H/2, W/2) rounded up."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    n, c, h, w = x.shape
    grid = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c).permute(2, 4, 0, 1, 3, 5)
    return grid.reshape(4 * n, h // 2, w // 2, c).permute(0, 3, 1, 2)


def _convolution_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    dilation: int,
    wanted: tuple[bool, bool, bool],
) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    gradients = torch.ops.aten.convolution_backward(
        g, x, weight, None, [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0],
        x.shape[1], wanted,
    )  # fmt: skip
    gradient: Tensor = gradients[wanted.index(True)]
    return gradient
