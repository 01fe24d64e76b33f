"""The cell of DARTS: its nodes and edges, and the row of cells that a network is. No torch.

Two cells halve the resolution and double the channels, at one and two thirds of the depth
(DARTS, section 3.1). Every cell reads the outputs of the two cells before it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sdedge.genotype import Edge, Genotype
from sdedge.operations import DARTS_OPERATIONS

NODES = 4
EDGES = 14  # 2 + 3 + 4 + 5, node-major
CELL_TYPES = ("normal", "reduce")


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


def random_genotype(rng: random.Random, operations: Sequence[str] = DARTS_OPERATIONS) -> Genotype:
    """A cell that a search could derive: two operations a node, from two sources."""

    def cell() -> tuple[Edge, ...]:
        return tuple(
            (rng.choice(operations[1:]), source)
            for node in range(NODES)
            for source in rng.sample(range(2 + node), 2)
        )

    return Genotype(normal=cell(), reduce=cell())
