"""A search space as a value: what a search needs to know of it.

A strategy works on any space through these few values; only the modules of `sdedge.space` know what
an operation computes.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from sdedge.config import SearchConfig
from sdedge.genotype import Architecture
from sdedge.operations import Operation, Space, check_search_set, operations_of
from sdedge.space.bypass import ChannelSplit
from sdedge.space.counting import Counts
from sdedge.space.footprint import Convolutions
from sdedge.space.supernet import AnySupernet, MixingWeights


@dataclass(frozen=True, kw_only=True)
class SearchSpace(ABC):
    """One search space, with the operations that are searched over.

    Raises ConfigError for operations that cannot be searched over.
    """

    operations: tuple[str, ...]  # of an edge, `none` first: the columns of alpha

    name: ClassVar[Space]
    cell_types: ClassVar[tuple[str, ...]]
    inputs: ClassVar[tuple[int, ...]]
    """Edges that enter each node, whose rows of alpha follow one another."""
    edges_kept: ClassVar[int]
    """How many of a node's edges an architecture keeps at most."""
    architecture: ClassVar[type[Architecture]]

    def __post_init__(self) -> None:
        check_search_set(self.operations, self.name)

    @abstractmethod
    def supernet(
        self,
        config: SearchConfig,
        classes: int,
        extra: tuple[str, ...],
        partial: int,
        split: type[ChannelSplit],
    ) -> AnySupernet:
        """A new supernet.

        Args:
            config: the settings of the search.
            classes: how many the images have.
            extra: operations of an edge after those that are searched over.
            partial: operations read one in so many channels.
            split: how these are chosen.
        """

    @abstractmethod
    def derive(self, weights: MixingWeights) -> Architecture:
        """The architecture that mixing weights (edges, operations) stand for."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Architecture:
        """A random architecture, as a search could derive it."""

    @abstractmethod
    def places(self, architecture: Any) -> list[tuple[str, int, int]]:
        """The operations that an architecture keeps: cell type, edge, number of the operation."""

    @abstractmethod
    def count(self, architecture: Any) -> Counts:
        """Of the network of an architecture at the size that its papers report."""

    @abstractmethod
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

    @property
    def records(self) -> list[Operation]:
        """The operations as the table has them."""
        return [operations_of(self.name)[name] for name in self.operations]

    @property
    def parameter_free(self) -> list[int]:
        """Numbers of the operations without weights, but `none`."""
        return [n for n, operation in enumerate(self.records) if n and not operation.has_weights]

    @property
    def edges(self) -> int:
        """Edges of a cell, rows of alpha."""
        return sum(self.inputs)
