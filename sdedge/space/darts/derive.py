"""From mixing weights to a genotype (DARTS, section 2.4)."""

from collections.abc import Mapping

from torch import Tensor

from sdedge.genotype import DARTS_OPERATIONS, Edge, Genotype
from sdedge.space.darts.cell import NODES

_NONE = DARTS_OPERATIONS.index("none")


def derive_darts(weights: Mapping[str, Tensor]) -> Genotype:
    """Keep each node's two strongest edges, and on each its strongest operation but `none`.

    The strength of an edge is its largest weight other than that of `none`; ties go to the lower
    index, and edges are listed by falling strength, as published genotypes are.
    weights: one (14, 8) matrix of probabilities for each cell type.
    """
    return Genotype(
        normal=_derive_cell(weights["normal"].tolist()),
        reduce=_derive_cell(weights["reduce"].tolist()),
    )


def _derive_cell(rows: list[list[float]]) -> tuple[Edge, ...]:
    cell: list[Edge] = []
    first = 0
    for node in range(NODES):
        candidates = [_strongest(row) for row in rows[first : first + 2 + node]]
        sources = sorted(range(len(candidates)), key=lambda source: -candidates[source][0])
        cell += [(candidates[source][1], source) for source in sources[:2]]
        first += 2 + node
    return tuple(cell)


def _strongest(row: list[float]) -> tuple[float, str]:
    index = max((k for k in range(len(row)) if k != _NONE), key=lambda k: row[k])
    return row[index], DARTS_OPERATIONS[index]
