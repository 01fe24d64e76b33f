"""The operations of NAS-Bench-201 (section 2.1), which keep the shape of their input."""

from functools import partial

from torch import nn


def relu_conv_bn(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, affine: bool
) -> nn.Sequential:
    """ReLU, convolution, batch norm: (N, c_in, H, W) -> (N, c_out, H/stride, W/stride).

    The convolution has a bias where batch norm is not affine: so the published supernet has it.
    """
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=not affine),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def skip_connect(channels: int, stride: int, *, search: bool) -> nn.Module:
    """Identity."""
    return nn.Identity()


def avg_pool_3x3(channels: int, stride: int, *, search: bool) -> nn.Module:
    """3x3 average pooling over the pixels inside the image."""
    return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)


def nor_conv(channels: int, stride: int, *, kernel: int, search: bool) -> nn.Module:
    """ReLU, convolution, batch norm."""
    return relu_conv_bn(channels, channels, kernel, stride=stride, affine=not search)


nor_conv_1x1, nor_conv_3x3 = (partial(nor_conv, kernel=kernel) for kernel in (1, 3))
