"""The convolutions of the supernet of NAS-Bench-201 whose memory is counted."""

from collections.abc import Iterator

from sdedge.space.footprint import Convolutions


def supernet_convolutions(
    channels: int, cells: int, image_size: int, *, partial: int = 1, sparse: bool = False
) -> Iterator[Convolutions]:
    """Of the supernet of NAS-Bench-201: two on each of six edges, in `cells` of each stage."""
    if sparse:
        return
    for scale in (1, 2, 4):
        side, width = -(-image_size // scale), channels * scale
        yield Convolutions(12 * cells, width // partial, side**2)
