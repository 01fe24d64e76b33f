"""Search spaces by name: what a search needs to know of each.

A strategy works on any space through these few values; only the modules of `sdedge.space` know what
an operation computes.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sdedge import nasbench201
from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.genotype import (
    DARTS_OPERATIONS,
    PARAMETER_FREE_OPERATIONS,
    Architecture,
    Genotype,
)
from sdedge.search.derive import derive_darts
from sdedge.space.bypass import ChannelSplit
from sdedge.space.counting import Counts, count_genotype
from sdedge.space.darts import NODES, edge_index, random_genotype
from sdedge.space.footprint import Convolutions, nb201_convolutions, supernet_convolutions
from sdedge.space.nasbench201 import CELL_TYPE, Nb201Supernet, count_cell, derive_cell
from sdedge.space.supernet import CELL_TYPES, MixingWeights, Supernet

AnySupernet = Supernet | Nb201Supernet


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """One search space."""

    name: str
    operations: tuple[str, ...]  # of an edge, `none` first
    cell_types: tuple[str, ...]
    inputs: tuple[int, ...]  # edges that enter each node, whose rows of alpha follow one another
    supernet: Callable[[SearchConfig, int, tuple[str, ...], int, type[ChannelSplit]], AnySupernet]
    """From settings, classes, extra operations, of how many channels operations read one, and how
    these are chosen."""
    architecture: type[Architecture]
    derive: Callable[[MixingWeights], Architecture]
    draw: Callable[[random.Random], Architecture]
    """A random architecture, as a search could derive it."""
    places: Callable[[Any], list[tuple[str, int, int]]]
    """Of an architecture the operations that it keeps: cell type, edge, number of the operation."""
    count: Callable[[Any], Counts]
    """Of the network of an architecture at the size that its papers report."""
    convolutions: Callable[..., Iterable[Convolutions]]
    """Of a supernet by channels, cells and image size, `partial` and `sparse`."""

    @property
    def parameter_free(self) -> list[int]:
        """Numbers of the operations without weights, but `none`."""
        return [
            number
            for number, name in enumerate(self.operations)
            if number and name in PARAMETER_FREE_OPERATIONS
        ]

    @property
    def edges(self) -> int:
        """Edges of a cell, rows of alpha."""
        return sum(self.inputs)


def _darts_supernet(
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


def _darts_places(genotype: Genotype) -> list[tuple[str, int, int]]:
    cells = zip(CELL_TYPES, (genotype.normal, genotype.reduce), strict=True)
    return [
        (kind, edge_index(place // 2, source), DARTS_OPERATIONS.index(name))
        for kind, cell in cells
        for place, (name, source) in enumerate(cell)
    ]


def _nb201_places(cell: nasbench201.Nb201Cell) -> list[tuple[str, int, int]]:
    return [
        (CELL_TYPE, edge, nasbench201.OPERATIONS.index(name))
        for edge, name in enumerate(cell.operations)
    ]


def _nb201_supernet(
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
        operations=(*nasbench201.OPERATIONS, *extra),
        partial=partial,
        split=split,
    )


SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        SearchSpace(
            name="darts",
            operations=DARTS_OPERATIONS,
            cell_types=CELL_TYPES,
            inputs=tuple(2 + node for node in range(NODES)),
            supernet=_darts_supernet,
            architecture=Genotype,
            derive=derive_darts,
            draw=random_genotype,
            places=_darts_places,
            count=count_genotype,
            convolutions=supernet_convolutions,
        ),
        SearchSpace(
            name=nasbench201.SPACE,
            operations=nasbench201.OPERATIONS,
            cell_types=(CELL_TYPE,),
            inputs=tuple(range(1, nasbench201.NODES)),
            supernet=_nb201_supernet,
            architecture=nasbench201.Nb201Cell,
            derive=derive_cell,
            draw=nasbench201.random_cell,
            places=_nb201_places,
            count=count_cell,
            convolutions=nb201_convolutions,
        ),
    )
}


def get_space(name: str) -> SearchSpace:
    """The space called `name`; ConfigError, with what there is, for another."""
    if name not in SPACES:
        raise ConfigError(f"unknown space {name!r}; there is: {', '.join(SPACES)}")
    return SPACES[name]
