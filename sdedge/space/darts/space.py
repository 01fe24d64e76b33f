"""The DARTS space as a value: what a search needs to know of it."""

from sdedge.config import SearchConfig
from sdedge.genotype import DARTS_OPERATIONS, Genotype
from sdedge.space.bypass import ChannelSplit
from sdedge.space.darts.cell import NODES, edge_index, random_genotype
from sdedge.space.darts.counting import count_genotype
from sdedge.space.darts.derive import derive_darts
from sdedge.space.darts.footprint import supernet_convolutions
from sdedge.space.darts.supernet import CELL_TYPES, Supernet
from sdedge.space.space import SearchSpace


def _supernet(
    config: SearchConfig,
    classes: int,
    extra: tuple[str, ...],
    partial: int,
    split: type[ChannelSplit],
) -> Supernet:
    return Supernet(
        channels=config.channels,
        cells=config.cells,
        classes=classes,
        impl=config.impl,
        operations=(*DARTS_OPERATIONS, *extra),
        partial=partial,
        split=split,
    )


def _places(genotype: Genotype) -> list[tuple[str, int, int]]:
    cells = zip(CELL_TYPES, (genotype.normal, genotype.reduce), strict=True)
    return [
        (kind, edge_index(place // 2, source), DARTS_OPERATIONS.index(name))
        for kind, cell in cells
        for place, (name, source) in enumerate(cell)
    ]


DARTS = SearchSpace(
    name="darts",
    operations=DARTS_OPERATIONS,
    cell_types=CELL_TYPES,
    inputs=tuple(2 + node for node in range(NODES)),
    supernet=_supernet,
    architecture=Genotype,
    derive=derive_darts,
    draw=random_genotype,
    places=_places,
    count=count_genotype,
    convolutions=supernet_convolutions,
)
