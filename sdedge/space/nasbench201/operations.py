"""The operations of NAS-Bench-201 (section 2.1), which keep the shape of their input."""

from collections.abc import Callable

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


# (channels, affine) -> module; `none` has no entry because a zero is never computed.
_BUILDERS: dict[str, Callable[[int, bool], nn.Module]] = {
    "skip_connect": lambda c, affine: nn.Identity(),
    "auxiliary_skip": lambda c, affine: nn.Identity(),
    "nor_conv_1x1": lambda c, affine: relu_conv_bn(c, c, 1, affine=affine),
    "nor_conv_3x3": lambda c, affine: relu_conv_bn(c, c, 3, affine=affine),
    "avg_pool_3x3": lambda c, affine: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}


def build_operation(name: str, channels: int, *, search: bool) -> nn.Module:
    """The operation `name`, which keeps the shape (N, C, H, W)."""
    return _BUILDERS[name](channels, not search)
