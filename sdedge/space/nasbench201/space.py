"""NAS-Bench-201 as a value: what a search needs to know of it."""

from sdedge.config import SearchConfig
from sdedge.space.bypass import ChannelSplit
from sdedge.space.nasbench201.cell import (
    CELL_TYPE,
    NODES,
    OPERATIONS,
    SPACE,
    Nb201Cell,
    random_cell,
)
from sdedge.space.nasbench201.counting import count_cell
from sdedge.space.nasbench201.derive import derive_cell
from sdedge.space.nasbench201.footprint import supernet_convolutions
from sdedge.space.nasbench201.supernet import Nb201Supernet
from sdedge.space.space import SearchSpace


def _supernet(
    config: SearchConfig,
    classes: int,
    extra: tuple[str, ...],
    partial: int,
    split: type[ChannelSplit],
) -> Nb201Supernet:
    return Nb201Supernet(
        channels=config.channels,
        cells_per_stage=config.cells,
        classes=classes,
        impl=config.impl,
        operations=(*OPERATIONS, *extra),
        partial=partial,
        split=split,
    )


def _places(cell: Nb201Cell) -> list[tuple[str, int, int]]:
    return [(CELL_TYPE, edge, OPERATIONS.index(name)) for edge, name in enumerate(cell.operations)]


NAS_BENCH_201 = SearchSpace(
    name=SPACE,
    operations=OPERATIONS,
    cell_types=(CELL_TYPE,),
    inputs=tuple(range(1, NODES)),
    supernet=_supernet,
    architecture=Nb201Cell,
    derive=derive_cell,
    draw=random_cell,
    places=_places,
    count=count_cell,
    convolutions=supernet_convolutions,
)
