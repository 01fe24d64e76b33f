"""The skeleton around the cells of NAS-Bench-201.

A 3x3 stem, three stages of equal cells with a residual block of stride 2 between them, batch norm
and ReLU, global average pooling, a linear classifier (NAS-Bench-201, section 2.1 and figure 1).

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

from collections.abc import Callable

from torch import Tensor, nn

from sdedge.space.nasbench201.operations import relu_conv_bn

_STAGES = 3


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
