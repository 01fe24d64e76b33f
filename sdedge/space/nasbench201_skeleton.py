"""What all networks of NAS-Bench-201 share: operations, and the skeleton around the cells.

A 3x3 stem, three stages of equal cells with a residual block of stride 2 between them, batch norm
and ReLU, global average pooling, a linear classifier (NAS-Bench-201, section 2.1 and figure 1).

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from collections.abc import Callable

from torch import Tensor, nn

_STAGES = 3


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


class ResidualBlock(nn.Module):
    """Halve the resolution: (N, c_in, H, W) -> (N, c_out, ceil(H/2), ceil(W/2))."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            relu_conv_bn(c_in, c_out, 3, stride=2, affine=True),
            relu_conv_bn(c_out, c_out, 3, affine=True),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reduce x: (N, c_in, H, W)."""
        total: Tensor = self.shortcut(x) + self.convolutions(x)
        return total


class Skeleton(nn.Module):
    """What supernet and derived network share, around cells that keep the number of channels."""

    def __init__(
        self,
        make_cell: Callable[[int], nn.Module],
        *,
        channels: int,
        cells_per_stage: int,
        classes: int,
    ) -> None:
        super().__init__()
        widths = [channels * 2**stage for stage in range(_STAGES)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(make_cell(width) for _ in range(cells_per_stage)) for width in widths
        )
        self.reductions = nn.ModuleList(ResidualBlock(width, 2 * width) for width in widths[:-1])
        self.feature_channels = widths[-1]
        self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.classifier = nn.Linear(widths[-1], classes)

    def features(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """x: (N, 3, H, W) -> the last cell's output (N, 4C, H/4, W/4); `run` applies a cell."""
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            if number:
                x = self.reductions[number - 1](x)
            for cell in stage.children():
                x = run(cell, x)
        return x

    def logits(self, features: Tensor) -> Tensor:
        """The last cell's output (N, 4C, H/4, W/4) -> (N, classes)."""
        return self.classifier(self.last(features).mean(dim=(2, 3)))  # type: ignore[no-any-return]
