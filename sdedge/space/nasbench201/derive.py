"""From mixing weights to a cell of NAS-Bench-201."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.space.nasbench201.cell import CELL_TYPE, Nb201Cell


def derive_cell(
    weights: Mapping[str, Tensor], operations: Sequence[str] = NAS_BENCH_201_OPERATIONS
) -> Nb201Cell:
    """The strongest operation on each edge, which may be `none`; ties go to the lower index.

    weights: {"cell": (6, operations)}, of any scale that ranks the operations of an edge.
    """
    return Nb201Cell(
        tuple(
            operations[max(range(len(row)), key=row.__getitem__)]
            for row in weights[CELL_TYPE].tolist()
        )
    )
