"""A strategy: what one paper changes in the bilevel search, as a few plain callables.

The loop knows no strategy by name. A new method replaces some of what DARTS does; it is a file in
`strategies/` and a line in the registry there, or `register_strategy` makes it known from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.genotype import Architecture
from sdedge.nas.alphas import Alphas
from sdedge.nas.scalars import Schedule, ScheduledScalar, ScheduledScalars
from sdedge.nas.state import Score, SearchState
from sdedge.nas.tasks.task import TaskBatch
from sdedge.nas.traits import Trait
from sdedge.space.bypass import ChannelSplit, FirstChannels
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights, SupernetOutput

# What an epoch logged.
Record = Mapping[str, Any]
# Cell type -> (edges, operations) of bool: what a stage's supernet may use.
OperationMask = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a search: as the strategy says, but for what is given here."""

    epochs: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # of this stage's search
    vary: Callable[[Strategy], Strategy] | None = None  # this stage's strategy from that of all
    carry: bool = False  # on with the weights and alphas of the stage before, not with new ones
    narrow: Callable[[MixingWeights], OperationMask] | None = None
    """From what was learned to what the next stage may use; None: what this one may."""
    cost: float = 1.0  # of a step, in any unit; for estimates


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One search method, or several combined."""

    name: str
    summary: str
    paper: str  # link

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a search where the paper departs from those of DARTS."""

    traits: frozenset[Trait] = frozenset()
    """What it has that does not follow from the callables below."""

    conflicts: Mapping[Trait, str] = field(default_factory=dict)
    """What another part of a combination must not have, and why."""

    excluded_spaces: Mapping[str, str] = field(default_factory=dict)
    """Search spaces that it does not apply to, and why."""

    schedules: Mapping[ScheduledScalar, Schedule] = field(default_factory=dict)
    """How scalars change with the epochs."""

    stages: Callable[[SearchConfig], Sequence[Stage]] | None = None
    """Parts of the search, one after the other; None: all epochs are alike."""

    second_order: bool = False
    """Whether alpha's gradient takes second derivatives of the task's loss."""

    single_level: bool = False
    """Whether alpha learns from the batch that trains the weights."""

    extra_operations: tuple[str, ...] = ()
    """What an edge of the supernet has after those of the space; they are never derived."""

    partial: int = 1
    """Operations read one in so many channels."""

    split: type[ChannelSplit] = FirstChannels
    """Which channels these are, and how they join the others again."""

    initial_alphas: Callable[[SearchSpace, torch.device], dict[str, Tensor]]
    """The architecture parameters at the start."""

    relax: Callable[[Alphas], MixingWeights]
    """From architecture parameters to the weights that mix operations."""

    sample: Callable[[Alphas, ScheduledScalars], MixingWeights] | None = None
    """Mixing weights to train with instead, drawn again for every pass."""

    sparse: bool = False
    """Whether a sample has one operation an edge, and the supernet computes no other."""

    perturb: Callable[[SearchState, MixingWeights, TaskBatch], MixingWeights] | None = None
    """Mixing weights that the step of the supernet's weights takes instead."""

    auxiliary_loss: (
        Callable[[SearchState, MixingWeights, SupernetOutput, TaskBatch], Tensor] | None
    ) = None
    """What is added to every loss of the supernet, from the mixing weights that it had and what it
    gave; such a strategy has a companion, the derived network with weights of its own."""

    penalties: tuple[Callable[[Alphas, ScheduledScalars], Tensor], ...] = ()
    """Terms that alpha descends together with the search loss."""

    alpha_gradient: Callable[[SearchState, TaskBatch, TaskBatch], Sequence[Tensor]]
    """Gradient of the search loss for each alpha, from a batch of either half of the data."""

    derive: Callable[[MixingWeights], Architecture] | None = None
    """From mixing weights to the genotype; None: as the space has it."""

    on_epoch_end: Callable[[SearchState, int, int, Score], None] | None = None
    """After an epoch, of so many: fix some of the state's `fixed_weights`, by what they score."""

    measure: Callable[[SearchState, int, TaskBatch], Mapping[str, float]] | None = None
    """What to log of a batch of the search half at the end of an epoch."""

    stop: Callable[[Sequence[Record]], int | None] | None = None
    """After an epoch, from the records of all: None, or whose genotype the search ends with."""

    go_back: Callable[[Sequence[Record]], int | None] | None = None
    """After a measured epoch, from what was measured so far: None, or the epoch to restore, from
    whose end the search continues with ten times the weight decay."""
