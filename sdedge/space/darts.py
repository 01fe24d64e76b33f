"""The skeleton that the supernet and a derived network share: stems, cells in a row, reductions.

Two cells halve the resolution and double the channels, at one and two thirds of the depth
(DARTS, section 3.1). Every cell reads the outputs of the two cells before it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from sdedge.genotype import DARTS_OPERATIONS, Edge, Genotype
from sdedge.space.operations import FactorizedReduce, relu_conv_bn

NODES = 4
EDGES = 14  # 2 + 3 + 4 + 5, node-major
STEM_MULTIPLIER = 3


@dataclass(frozen=True)
class CellSpec:
    """Where a cell stands: the channels it reads and makes, and what happens to the resolution."""

    c_prev_prev: int
    c_prev: int
    channels: int
    reduction: bool
    reduction_prev: bool


def reduction_positions(cells: int) -> frozenset[int]:
    """Indices of the reduction cells: one and two thirds of the depth."""
    return frozenset({cells // 3, 2 * cells // 3})


def cell_specs(
    *,
    c_stem: tuple[int, int],  # channels of the two stem outputs
    channels: int,  # of the first cell
    cells: int,
    multipliers: tuple[int, int],  # concatenated nodes of a (normal, reduction) cell
    reduction_prev: bool = False,  # whether the last stem output has half the resolution
) -> Iterator[CellSpec]:
    """The cells from first to last."""
    c_prev_prev, c_prev = c_stem
    for index in range(cells):
        reduction = index in reduction_positions(cells)
        channels = 2 * channels if reduction else channels
        yield CellSpec(c_prev_prev, c_prev, channels, reduction, reduction_prev)
        c_prev_prev, c_prev = c_prev, multipliers[reduction] * channels
        reduction_prev = reduction


def edge_index(node: int, source: int) -> int:
    """Number of the edge from a source (0, 1: the cell's inputs) to a node, node-major."""
    return node * (node + 3) // 2 + source


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


def random_genotype(rng: random.Random) -> Genotype:
    """A cell that a search could derive: two operations a node, from two sources."""

    def cell() -> tuple[Edge, ...]:
        return tuple(
            (rng.choice(DARTS_OPERATIONS[1:]), source)
            for node in range(NODES)
            for source in rng.sample(range(2 + node), 2)
        )

    return Genotype(normal=cell(), reduce=cell())
