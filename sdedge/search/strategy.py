"""A strategy: what one paper changes in the bilevel search, as a few plain callables.

The loop knows no strategy by name. A new method is a file in `strategies/` that fills this in,
and a line in the registry there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdedge.genotype import Genotype
from sdedge.search.alphas import Alphas
from sdedge.space.supernet import MixingWeights

if TYPE_CHECKING:
    from sdedge.search.bilevel import Bilevel
    from sdedge.search.tasks.task import TaskBatch


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One search method."""

    name: str
    summary: str
    paper: str  # link

    second_order: bool = False
    """Whether alpha's gradient takes second derivatives of the task's loss."""

    initial_alphas: Callable[[torch.device], dict[str, Tensor]]
    """The architecture parameters at the start."""

    relax: Callable[[Alphas], MixingWeights]
    """From architecture parameters to the weights that mix operations."""

    alpha_gradient: Callable[[Bilevel, TaskBatch, TaskBatch], Sequence[Tensor]]
    """Gradient of the search loss for each alpha, from a batch of either half of the data."""

    derive: Callable[[MixingWeights], Genotype]
    """From mixing weights to the genotype."""
