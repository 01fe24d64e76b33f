"""The operations of the DARTS space (DARTS, section 3.1 and appendix A.1.1).

Those that `sdedge.operations` builds take (channels, stride, *, search), as each of its records.
Every operation keeps the number of channels. In search, batch norm has no affine parameters and
each pool is followed by one; in a derived network batch norm is affine and pools stand bare.
"""

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def relu_conv_bn(c_in: int, c_out: int, *, affine: bool) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch norm: (N, c_in, H, W) -> (N, c_out, H, W)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


class FactorizedReduce(nn.Module):
    """Halve the resolution without losing pixels: (N, c_in, H, W) -> (N, c_out, H/2, W/2).

    Two 1x1 stride-2 convolutions, the second on the input shifted by one pixel, concatenated.
    An odd H or W is rounded up, as by every other stride-2 operation of the space.
    """

    def __init__(self, c_in: int, c_out: int, *, affine: bool) -> None:
        super().__init__()
        self.conv_even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce x: (N, c_in, H, W) -> (N, c_out, ceil(H/2), ceil(W/2))."""
        return self.bn(self.convolve(*reduction_halves(x)))  # type: ignore[no-any-return]

    def convolve(self, even: Tensor, odd: Tensor) -> Tensor:
        """The raw output, before batch norm, for what `reduction_halves` gives."""
        # The stride is in the slices: a strided 1x1 convolution is slow on the CPU.
        halves = [
            F.conv2d(part, conv.weight, conv.bias)
            for part, conv in ((even, self.conv_even), (odd, self.conv_odd))
        ]
        return torch.cat(halves, dim=1)


def reduction_halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """relu(x) at the even pixels, and at those one pixel on, where an edge counts as 0."""
    even = F.relu(x[:, :, ::2, ::2])
    odd = F.relu(x[:, :, 1::2, 1::2])
    if x.shape[2] % 2 or x.shape[3] % 2:
        odd = F.pad(odd, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    return even, odd


def separable_conv(channels: int, stride: int, *, kernel: int, search: bool) -> nn.Sequential:
    """Depthwise and pointwise convolution applied twice; the stride is in the first."""
    return nn.Sequential(
        *_depthwise_pointwise(channels, kernel, stride, dilation=1, affine=not search),
        *_depthwise_pointwise(channels, kernel, 1, dilation=1, affine=not search),
    )


def dilated_conv(channels: int, stride: int, *, kernel: int, search: bool) -> nn.Sequential:
    """Depthwise convolution of dilation 2 and pointwise convolution, applied once."""
    return nn.Sequential(
        *_depthwise_pointwise(channels, kernel, stride, dilation=2, affine=not search)
    )


def _depthwise_pointwise(
    channels: int, kernel: int, stride: int, *, dilation: int, affine: bool
) -> tuple[nn.Module, ...]:
    return (
        nn.ReLU(),
        nn.Conv2d(
            channels,
            channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel - 1) // 2,
            dilation=dilation,
            groups=channels,
            bias=False,
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def max_pool_3x3(channels: int, stride: int, *, search: bool) -> nn.Module:
    """3x3 max pooling, in search followed by batch norm."""
    return _pool(nn.MaxPool2d(3, stride=stride, padding=1), channels, search=search)


def avg_pool_3x3(channels: int, stride: int, *, search: bool) -> nn.Module:
    """3x3 average pooling over the pixels inside the image, in search followed by batch norm."""
    pool = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    return _pool(pool, channels, search=search)


def _pool(pool: nn.Module, channels: int, *, search: bool) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False)) if search else pool


def skip_connect(channels: int, stride: int, *, search: bool) -> nn.Module:
    """Identity; a factorized reduction where the resolution halves."""
    if stride == 1:
        return nn.Identity()
    return FactorizedReduce(channels, channels, affine=not search)


def conv_7x1_1x7(channels: int, stride: int, *, search: bool) -> nn.Sequential:
    """A 7x7 receptive field from a row and a column convolution (NASNet cells only)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        nn.BatchNorm2d(channels, affine=not search),
    )


sep_conv_3x3, sep_conv_5x5, sep_conv_7x7 = (
    partial(separable_conv, kernel=kernel) for kernel in (3, 5, 7)
)
dil_conv_3x3, dil_conv_5x5 = (partial(dilated_conv, kernel=kernel) for kernel in (3, 5))
