"""The convolutions of the supernet of NAS-Bench-201 whose memory is counted."""

from collections.abc import Iterable, Iterator

from sdedge.operations import NAS_BENCH_201, NAS_BENCH_201_OPERATIONS, get_operation
from sdedge.space.footprint import Convolutions
from sdedge.space.nasbench201.cell import EDGES


def supernet_convolutions(
    channels: int,
    cells: int,
    image_size: int,
    operations: Iterable[str] = NAS_BENCH_201_OPERATIONS,
    *,
    partial: int = 1,
    sparse: bool = False,
) -> Iterator[Convolutions]:
    """Of the supernet of NAS-Bench-201, with `cells` in each stage."""
    if sparse:
        return
    dense = sum(get_operation(name, NAS_BENCH_201).dense_convolutions for name in operations)
    for scale in (1, 2, 4):
        side, width = -(-image_size // scale), channels * scale
        yield Convolutions(len(EDGES) * dense * cells, width // partial, side**2)
