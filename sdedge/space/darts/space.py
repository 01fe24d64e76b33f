"""The DARTS space as a value: what a search needs to know of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sdedge.config import SearchConfig
from sdedge.genotype import Genotype
from sdedge.operations import DARTS, DARTS_OPERATIONS
from sdedge.space.bypass import ChannelSplit
from sdedge.space.counting import Counts
from sdedge.space.darts.cell import CELL_TYPES, NODES, edge_index, random_genotype
from sdedge.space.darts.counting import count_genotype
from sdedge.space.darts.derive import derive_darts
from sdedge.space.darts.footprint import supernet_convolutions
from sdedge.space.darts.supernet import Supernet
from sdedge.space.footprint import Convolutions
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights


@dataclass(frozen=True, kw_only=True)
class DartsSpace(SearchSpace):
    """A normal and a reduction cell of four nodes."""

    operations: tuple[str, ...] = DARTS_OPERATIONS

    name = DARTS
    cell_types = CELL_TYPES
    inputs = tuple(2 + node for node in range(NODES))
    edges_kept = 2
    architecture = Genotype

    def supernet(
        self,
        config: SearchConfig,
        classes: int,
        extra: tuple[str, ...],
        partial: int,
        split: type[ChannelSplit],
    ) -> Supernet:
        """A new supernet; see `SearchSpace.supernet`."""
        return Supernet(
            channels=config.channels,
            cells=config.cells,
            classes=classes,
            impl=config.impl,
            operations=(*self.operations, *extra),
            partial=partial,
            split=split,
        )

    def derive(self, weights: MixingWeights) -> Genotype:
        """The genotype, as DARTS derives one."""
        return derive_darts(weights, self.operations)

    def draw(self, rng: random.Random) -> Genotype:
        """A random genotype, as a search could derive it."""
        return random_genotype(rng, self.operations)

    def places(self, architecture: Genotype) -> list[tuple[str, int, int]]:
        """The operations that a genotype keeps: cell type, edge, number of the operation."""
        cells = zip(CELL_TYPES, (architecture.normal, architecture.reduce), strict=True)
        return [
            (kind, edge_index(place // 2, source), self.operations.index(name))
            for kind, cell in cells
            for place, (name, source) in enumerate(cell)
        ]

    def count(self, architecture: Genotype) -> Counts:
        """Of the papers' network for CIFAR-10."""
        return count_genotype(architecture)

    def convolutions(
        self,
        channels: int,
        cells: int,
        image_size: int,
        *,
        partial: int = 1,
        sparse: bool = False,
    ) -> Iterator[Convolutions]:
        """Of a supernet; where `sparse` its edges may all have no convolution."""
        return supernet_convolutions(
            channels, cells, image_size, self.operations, partial=partial, sparse=sparse
        )
