"""The least memory of a training step, counted before anything is allocated.

Counted are dense convolutions: their weights, with the gradients, and what they give, which every
form of the networks keeps for the backward pass of the batch norm that follows. The true peak is
several times as high, so what is refused for this could not have worked.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sdedge.bounds import Stem
from sdedge.space.darts import EDGES, cell_specs

_BYTES = 4  # of a float32
_EDGE_CONVOLUTIONS = 6  # on a mixed edge of DARTS: two a separable, one a dilated convolution
_CONVOLUTIONS = {"sep_conv": 2, "dil_conv": 1, "conv_7x1": 2}


class Convolutions(NamedTuple):
    """Some convolutions from `channels` to as many, on maps of `pixels`."""

    number: int
    channels: int
    pixels: int


def step_bytes(convolutions: Iterable[Convolutions], batch_size: int) -> int:
    """What a step on `batch_size` images cannot do without."""
    weights = outputs = 0
    for number, channels, pixels in convolutions:
        weights += number * channels**2
        outputs += number * channels * pixels * batch_size
    # Gradients come while the outputs go.
    return _BYTES * (weights + max(weights, outputs))


def supernet_convolutions(
    channels: int, cells: int, image_size: int, *, partial: int = 1, sparse: bool = False
) -> Iterator[Convolutions]:
    """Of the DARTS supernet; where `sparse` its edges may all be skips."""
    for width, pixels, _ in _darts_cells(channels, cells, image_size):
        yield Convolutions(2, width, pixels)  # of the inputs
        if not sparse:
            yield Convolutions(EDGES * _EDGE_CONVOLUTIONS, width // partial, pixels)


def network_convolutions(
    normal: Iterable[str],
    reduce: Iterable[str],
    *,
    channels: int,
    cells: int,
    stem: Stem,
    image_size: int,
) -> Iterator[Convolutions]:
    """Of the network derived from these operations of the two cells."""
    counts = [
        sum(n for name in cell for start, n in _CONVOLUTIONS.items() if name.startswith(start))
        for cell in (normal, reduce)
    ]
    side = image_size if stem == "cifar" else -(-image_size // 8)
    for width, pixels, reduction in _darts_cells(channels, cells, side):
        yield Convolutions(2 + counts[reduction], width, pixels)


def nb201_convolutions(
    channels: int, cells: int, image_size: int, *, partial: int = 1, sparse: bool = False
) -> Iterator[Convolutions]:
    """Of the supernet of NAS-Bench-201: two on each of six edges, in `cells` of each stage."""
    if sparse:
        return
    for scale in (1, 2, 4):
        side, width = -(-image_size // scale), channels * scale
        yield Convolutions(12 * cells, width // partial, side**2)


def _darts_cells(channels: int, cells: int, side: int) -> Iterator[tuple[int, int, bool]]:
    """Channels and pixels of the maps of each cell, and whether it is a reduction."""
    for spec in cell_specs(c_stem=(1, 1), channels=channels, cells=cells, multipliers=(1, 1)):
        side = -(-side // 2) if spec.reduction else side
        yield spec.channels, side**2, spec.reduction
