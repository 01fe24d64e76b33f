"""The convolutions of DARTS networks whose memory is counted."""

from collections.abc import Iterable, Iterator

from sdedge.bounds import Stem
from sdedge.operations import DARTS_OPERATIONS, get_operation
from sdedge.space.darts.cell import EDGES, cell_specs
from sdedge.space.footprint import Convolutions


def supernet_convolutions(
    channels: int,
    cells: int,
    image_size: int,
    operations: Iterable[str] = DARTS_OPERATIONS,
    *,
    partial: int = 1,
    sparse: bool = False,
) -> Iterator[Convolutions]:
    """Of the DARTS supernet; where `sparse` its edges may all be skips."""
    dense = EDGES * _dense_convolutions(operations)
    for width, pixels, _ in _darts_cells(channels, cells, image_size):
        yield Convolutions(2, width, pixels)  # of the inputs
        if not sparse:
            yield Convolutions(dense, width // partial, pixels)


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
    counts = [_dense_convolutions(cell) for cell in (normal, reduce)]
    side = image_size if stem == "cifar" else -(-image_size // 8)
    for width, pixels, reduction in _darts_cells(channels, cells, side):
        yield Convolutions(2 + counts[reduction], width, pixels)


def _dense_convolutions(names: Iterable[str]) -> int:
    return sum(get_operation(name).dense_convolutions for name in names)


def _darts_cells(channels: int, cells: int, side: int) -> Iterator[tuple[int, int, bool]]:
    """Channels and pixels of the maps of each cell, and whether it is a reduction."""
    for spec in cell_specs(c_stem=(1, 1), channels=channels, cells=cells, multipliers=(1, 1)):
        side = -(-side // 2) if spec.reduction else side
        yield spec.channels, side**2, spec.reduction
