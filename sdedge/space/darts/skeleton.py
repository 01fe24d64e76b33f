"""What the DARTS supernet and a derived network share: stems, and the way into a cell."""

from torch import Tensor, nn

from sdedge.space.darts.cell import CellSpec
from sdedge.space.darts.operations import FactorizedReduce, relu_conv_bn

STEM_MULTIPLIER = 3


class CellInputs(nn.Module):
    """Bring the two inputs of a cell to its channels and to one resolution."""

    def __init__(self, spec: CellSpec, *, affine: bool) -> None:
        super().__init__()
        self.prev_prev: FactorizedReduce | nn.Sequential = (
            FactorizedReduce(spec.c_prev_prev, spec.channels, affine=affine)
            if spec.reduction_prev
            else relu_conv_bn(spec.c_prev_prev, spec.channels, affine=affine)
        )
        self.prev = relu_conv_bn(spec.c_prev, spec.channels, affine=affine)

    def forward(self, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
        """s0: (N, c_prev_prev, H0, W0), s1: (N, c_prev, H, W) -> two of (N, channels, H, W)."""
        return self.prev_prev(s0), self.prev(s1)

    def of_rectified(self, r0: Tensor, r1: Tensor) -> tuple[Tensor, Tensor]:
        """The same for r0 = relu(s0) and r1 = relu(s1), which two cells can share."""
        first = (
            self.prev_prev(r0)
            if isinstance(self.prev_prev, FactorizedReduce)
            else self.prev_prev[1:](r0)
        )
        return first, self.prev[1:](r1)


class CifarStem(nn.Module):
    """One 3x3 convolution; both cell inputs are its output: (N, 3, H, W) -> (N, 3C, H, W)."""

    reduction_prev = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        out = STEM_MULTIPLIER * channels
        self.out_channels = (out, out)
        self.conv = nn.Sequential(nn.Conv2d(3, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, 3, H, W) -> the same tensor twice."""
        s = self.conv(x)
        return s, s


class ImageNetStem(nn.Module):
    """Three stride-2 convolutions: (N, 3, H, W) -> (N, C, H/4, W/4) and (N, C, H/8, W/8)."""

    reduction_prev = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = (channels, channels)
        half = channels // 2
        self.stem0 = nn.Sequential(
            nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.stem1 = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, 3, H, W) -> features at a quarter and at an eighth of the resolution."""
        s0 = self.stem0(x)
        return s0, self.stem1(s0)
