"""From mixing weights to a genotype (DARTS, section 2.4)."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from sdedge.genotype import Edge, Genotype
from sdedge.operations import DARTS_OPERATIONS
from sdedge.space.darts.cell import NODES


def derive_darts(
    weights: Mapping[str, Tensor], operations: Sequence[str] = DARTS_OPERATIONS
) -> Genotype:
    """Keep each node's two strongest edges, and on each its strongest operation but `none`.

    The strength of an edge is its largest weight other than that of `none`; ties go to the lower
    index, and edges are listed by falling strength, as published genotypes are.
    weights: one (14, operations) matrix of probabilities for each cell type.
    operations: its columns, `none` first.
    """
    return Genotype(
        normal=_derive_cell(weights["normal"].tolist(), operations),
        reduce=_derive_cell(weights["reduce"].tolist(), operations),
    )


def _derive_cell(rows: list[list[float]], operations: Sequence[str]) -> tuple[Edge, ...]:
    cell: list[Edge] = []
    first = 0
    for node in range(NODES):
        candidates = [_strongest(row, operations) for row in rows[first : first + 2 + node]]
        sources = sorted(range(len(candidates)), key=lambda source: -candidates[source][0])
        cell += [(candidates[source][1], source) for source in sources[:2]]
        first += 2 + node
    return tuple(cell)


def _strongest(row: list[float], operations: Sequence[str]) -> tuple[float, str]:
    index = max(range(1, len(operations)), key=lambda k: row[k])
    return row[index], operations[index]
