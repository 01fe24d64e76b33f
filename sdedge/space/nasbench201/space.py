"""NAS-Bench-201 as a value: what a search needs to know of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sdedge.config import SearchConfig
from sdedge.operations import NAS_BENCH_201, NAS_BENCH_201_OPERATIONS
from sdedge.space.bypass import ChannelSplit
from sdedge.space.counting import Counts
from sdedge.space.footprint import Convolutions
from sdedge.space.nasbench201.cell import CELL_TYPE, NODES, Nb201Cell, random_cell
from sdedge.space.nasbench201.counting import count_cell
from sdedge.space.nasbench201.derive import derive_cell
from sdedge.space.nasbench201.footprint import supernet_convolutions
from sdedge.space.nasbench201.supernet import Nb201Supernet
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights


@dataclass(frozen=True, kw_only=True)
class Nb201Space(SearchSpace):
    """One cell of four nodes, all of whose six edges stay."""

    operations: tuple[str, ...] = NAS_BENCH_201_OPERATIONS

    name = NAS_BENCH_201
    cell_types = (CELL_TYPE,)
    inputs = tuple(range(1, NODES))
    edges_kept = NODES - 1  # all
    architecture = Nb201Cell

    def supernet(
        self,
        config: SearchConfig,
        classes: int,
        extra: tuple[str, ...],
        partial: int,
        split: type[ChannelSplit],
    ) -> Nb201Supernet:
        """A new supernet; see `SearchSpace.supernet`."""
        return Nb201Supernet(
            channels=config.channels,
            cells_per_stage=config.cells,
            classes=classes,
            impl=config.impl,
            operations=(*self.operations, *extra),
            partial=partial,
            split=split,
        )

    def derive(self, weights: MixingWeights) -> Nb201Cell:
        """The strongest operation on each edge."""
        return derive_cell(weights, self.operations)

    def draw(self, rng: random.Random) -> Nb201Cell:
        """A random cell."""
        return random_cell(rng, self.operations)

    def places(self, architecture: Nb201Cell) -> list[tuple[str, int, int]]:
        """The operations of a cell: cell type, edge, number of the operation."""
        return [
            (CELL_TYPE, edge, self.operations.index(name))
            for edge, name in enumerate(architecture.operations)
        ]

    def count(self, architecture: Nb201Cell) -> Counts:
        """Of the benchmark's network for CIFAR-10."""
        return count_cell(architecture)

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
