"""A search space as a value: what a search needs to know of it.

A strategy works on any space through these few values; only the modules of `sdedge.space` know what
an operation computes.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sdedge.config import SearchConfig
from sdedge.genotype import PARAMETER_FREE_OPERATIONS, Architecture
from sdedge.space.bypass import ChannelSplit
from sdedge.space.counting import Counts
from sdedge.space.footprint import Convolutions
from sdedge.space.supernet import AnySupernet, MixingWeights


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
