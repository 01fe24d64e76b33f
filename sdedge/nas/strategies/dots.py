"""DOTS: operations first, then topology (Gu et al., 2021), https://arxiv.org/abs/2010.04969

The operation search has a softmax over the operations without weights of each edge, and one over
its convolutions; the best of either stays, the best but `none` of the first, as `none` is never
derived. The topology search starts over with those two: a softmax over the pairs of edges that
enter a node, with a temperature that falls, weighs each edge by the pairs that hold it. The first
half of either is a warmup, in which alpha is fixed.

The two operations of an edge have new alphas, and a softmax at a thousandth of the temperature of
the pairs (the authors' code). The authors learn the topology on all training images, at one level:
here on the half that trains the weights. Their batch norm and ReLU before the head are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.nas.alphas import Alphas
from sdedge.nas.scalars import Schedule, ScheduledScalar, ScheduledScalars
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategies.fair_darts import zeros
from sdedge.nas.strategies.p_darts import strongest
from sdedge.nas.strategy import OperationMask, Stage, Strategy
from sdedge.nas.traits import Trait
from sdedge.operations import DARTS_OPERATIONS, NAS_BENCH_201, get_operation
from sdedge.space.space import SearchSpace
from sdedge.space.spaces import get_space
from sdedge.space.supernet import MixingWeights

TEMPERATURE = ScheduledScalar("pair_temperature")
_EPOCHS = (30, 40)
_HOTTEST, _COLDEST = 10.0, 0.02
_BETWEEN_OPERATIONS = 1e-3  # of the temperature between pairs
_NONE = 0


def two_stages(config: SearchConfig) -> list[Stage]:
    """Operations in three sevenths of the epochs, and topology in the rest."""
    operations = get_space(config.space, config.operations).operations
    free = weight_free(operations)
    if not _NONE + 1 < free < len(operations):
        raise ConfigError(
            f"dots chooses among operations with weights and among those without; "
            f"{', '.join(operations[_NONE + 1 :])} are of one kind"
        )
    first = max(1, round(config.epochs * _EPOCHS[0] / sum(_EPOCHS)))
    cooling = falling_temperature(config.alpha_warmup)

    def of_operations(strategy: Strategy) -> Strategy:
        return replace(strategy, relax=partial(grouped_softmax, free=free))

    def of_topology(strategy: Strategy) -> Strategy:
        return replace(
            strategy,
            schedules={**strategy.schedules, TEMPERATURE: cooling},
            single_level=True,
            initial_alphas=zeros_and_pairs,
            relax=best_pairs,
            sample=mixed_pairs,
        )

    return [
        Stage(
            epochs=first,
            vary=of_operations,
            narrow=partial(best_of_each_group, free=free),
            cost=len(operations),
        ),
        Stage(epochs=max(1, config.epochs - first), vary=of_topology, cost=2),
    ]


def falling_temperature(warmup: float) -> Schedule:
    """From 10 to 0.02 by the same factor an epoch, once the warmup of alpha is over."""

    def temperature(epoch: int, epochs: int) -> float:
        waited = round(warmup * epochs)
        passed = max(0, epoch - waited) / max(1, epochs - waited - 1)
        return float(_HOTTEST * (_COLDEST / _HOTTEST) ** passed)

    return temperature


def weight_free(operations: Sequence[str]) -> int:
    """How many operations have no weights; they come first."""
    return sum(not get_operation(name).has_weights for name in operations)


_FREE = weight_free(DARTS_OPERATIONS)


def grouped_softmax(alphas: Alphas, free: int = _FREE) -> MixingWeights:
    """A softmax over the operations of an edge without weights, and one over those with."""
    return {
        name: torch.cat((alpha[:, :free].softmax(dim=1), alpha[:, free:].softmax(dim=1)), dim=1)
        for name, alpha in alphas.items()
    }


def best_of_each_group(weights: MixingWeights, free: int = _FREE) -> OperationMask:
    """On each edge the best convolution, and the best operation without weights but `none`."""
    return {
        name: torch.cat(
            (
                torch.zeros_like(matrix[:, : _NONE + 1], dtype=torch.bool),
                strongest(matrix[:, _NONE + 1 : free], 1),
                strongest(matrix[:, free:], 1),
            ),
            dim=1,
        )
        for name, matrix in weights.items()
    }


def zeros_and_pairs(space: SearchSpace, device: torch.device) -> dict[str, Tensor]:
    """Zeros for the operations of a cell type, and for the pairs of edges that enter each node."""
    pairs = {
        f"{name}_pairs_{node}": torch.zeros(len(pairs_of(inputs)), device=device).requires_grad_()
        for name in space.cell_types
        for node, inputs in enumerate(space.inputs)
    }
    return {**zeros(space, device), **pairs}


def mixed_pairs(alphas: Alphas, scalars: ScheduledScalars) -> dict[str, Tensor]:
    """The weight of each edge, a softmax over pairs, times a softmax over its operations."""
    temperature = scalars[TEMPERATURE]
    return _weighed(alphas, lambda logits: (logits / temperature).softmax(dim=0), temperature)


def best_pairs(alphas: Alphas) -> MixingWeights:
    """What the mixture cools down to: each node's best pair; gradients are of temperature 1."""
    return _weighed(alphas, _hardest, 1.0)


def _hardest(logits: Tensor) -> Tensor:
    soft = logits.softmax(dim=0)
    hard = torch.zeros_like(soft).scatter_(0, soft.argmax(dim=0, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def _weighed(
    alphas: Alphas, over_pairs: Callable[[Tensor], Tensor], temperature: Tensor | float
) -> dict[str, Tensor]:
    return {
        name: (alpha / (_BETWEEN_OPERATIONS * temperature)).softmax(dim=1)
        * edge_weights([over_pairs(logits) for logits in _pair_logits(alphas, name)])[:, None]
        for name, alpha in alphas.items()
        if alpha.ndim == 2
    }


def _pair_logits(alphas: Alphas, cell_type: str) -> list[Tensor]:
    return [some for name, some in alphas.items() if name.startswith(f"{cell_type}_pairs_")]


def edge_weights(shares: Sequence[Tensor]) -> Tensor:
    """From the shares of each node's pairs to the sums of those that hold an edge: (edges,)."""
    sums = []
    for node, share in enumerate(shares):
        held = list(zip(pairs_of(2 + node), share.unbind(), strict=True))
        sums += [
            torch.stack([some for pair, some in held if edge in pair]).sum()
            for edge in range(2 + node)
        ]
    return torch.stack(sums)


def pairs_of(inputs: int) -> list[tuple[int, int]]:
    """The pairs of a node's edges, in the order of their logits."""
    return list(combinations(range(inputs), 2))


DOTS = replace(
    DARTS,
    name="dots",
    summary="operations within two groups first; then, anew, pairs of edges for each node",
    paper="https://arxiv.org/abs/2010.04969",
    settings={"epochs": sum(_EPOCHS), "alpha_betas": (0.9, 0.999), "alpha_warmup": 0.5},
    traits=frozenset({Trait.EDGE_WEIGHTS}),
    conflicts={
        Trait.DRAWN_WEIGHTS: "its topology search mixes by pairs of edges, and draws nothing",
        Trait.EXTRA_OPERATIONS: "its topology search has two operations an edge, and no other",
        Trait.PERTURBED_WEIGHTS: "edges that are ruled out have no weights to perturb",
    },
    excluded_spaces={
        NAS_BENCH_201: "every edge there has one operation, so there is no topology to choose"
    },
    stages=two_stages,
    initial_alphas=zeros,
    relax=grouped_softmax,
)
