"""Where each buffer lies in one block of memory, as microcontroller runtimes place them.

The greedy planner of TFLite Micro (GreedyMemoryPlanner): largest buffers first, each at the lowest
offset where it overlaps none that is alive at the same time. The block can be larger than the peak
of what is alive, because of the gaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16  # bytes; TFLite Micro's


@dataclass(frozen=True)
class Lifetime:
    """A buffer that is needed from one step to another, both included."""

    size: int
    first: int
    last: int


def place(lifetimes: Sequence[Lifetime]) -> list[int]:
    """The offset of each buffer, in bytes."""
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, i)):
        buffer, offset = lifetimes[index], 0
        for other in sorted(placed, key=offsets.__getitem__):
            neighbour = lifetimes[other]
            if neighbour.last < buffer.first or buffer.last < neighbour.first:
                continue
            if offsets[other] >= offset + buffer.size:
                break
            offset = max(offset, _aligned(offsets[other] + neighbour.size))
        offsets[index] = offset
        placed.append(index)
    return offsets


def arena_bytes(lifetimes: Sequence[Lifetime]) -> int:
    """The size of the block that holds all of them."""
    ends = (o + _aligned(b.size) for o, b in zip(place(lifetimes), lifetimes, strict=True))
    return max(ends, default=0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
