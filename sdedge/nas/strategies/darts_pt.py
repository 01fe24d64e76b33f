"""DARTS-PT: what matters is what is missed (Wang et al., 2021), https://arxiv.org/abs/2108.04392

After the search of DARTS the supernet decides instead of alpha (algorithm 1): on one edge after the
other, drawn at random, it keeps the operation whose removal costs most accuracy, and trains on in
between. Then each node drops, one by one, the edges whose removal costs least, until two are left.

An edge that was decided mixes its operation with weight 1 (the authors' code); `none` is never
kept. Alpha is fixed meanwhile. A cell of nas-bench-201 has all its edges, so only operations are
decided there. A budget weighs on alpha, and so on no decision.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.nas.fixed_weights import UNDECIDED
from sdedge.nas.state import Score, SearchState
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import Stage, Strategy
from sdedge.nas.traits import Trait
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights

_EPOCHS = (50, 81)
_NONE = 0


def search_and_decide(config: SearchConfig) -> list[Stage]:
    """Fifty of 131 epochs as DARTS, and the others, with a tenth of the rate, for decisions."""
    first = max(1, round(config.epochs * _EPOCHS[0] / sum(_EPOCHS)))

    def deciding(strategy: Strategy) -> Strategy:
        # A perturbation would put weight on what was removed.
        return replace(strategy, perturb=None, on_epoch_end=decide_by_removal)

    return [
        Stage(epochs=first),
        Stage(
            epochs=max(1, config.epochs - first),
            settings={"weight_lr": config.weight_lr / 10, "alpha_warmup": 1.0},
            vary=deciding,
            carry=True,
        ),
    ]


def edges_of_nodes(space: SearchSpace) -> list[list[int]]:
    """Numbers of the edges that enter each node which has more than it keeps."""
    numbers = iter(range(space.edges))
    nodes = [[next(numbers) for _ in range(count)] for count in space.inputs]
    return [edges for edges in nodes if len(edges) > space.edges_kept]


def decide_by_removal(state: SearchState, epoch: int, epochs: int, score: Score) -> None:
    """Take this epoch's share of the decisions: first on each edge, then on each node.

    They are spread evenly over the epochs, the first right after the first of them.
    """
    nodes, kept = edges_of_nodes(state.space), state.space.edges_kept
    draw = random.Random(int(torch.randint(2**31, ())))  # scoring seeds torch's own numbers
    (edges,) = {len(decided) for decided in state.fixed_weights.values()}
    share = (edges + len(nodes)) / epochs
    for turn in range(ceil(share * epoch), ceil(share * (epoch + 1))):
        for kind, decided in state.fixed_weights.items():
            if turn < edges:
                decide_operation(state, kind, draw.choice(_open_edges(decided)), score)
            else:
                decide_topology(state, kind, draw.choice(_open_nodes(decided, nodes, kept)), score)


def decide_operation(state: SearchState, kind: str, edge: int, score: Score) -> None:
    """Keep the operation of an edge whose removal leaves the lowest score."""
    weights = state.mixing_weights()
    candidates = range(_NONE + 1, weights[kind].shape[1])
    kept = min(candidates, key=lambda k: score(_without(weights, kind, (edge, k))))
    decided = state.fixed_weights[kind][edge]
    decided.zero_()
    decided[kept] = 1.0


def decide_topology(state: SearchState, kind: str, edges: Sequence[int], score: Score) -> None:
    """Remove the edge of a node whose removal leaves the highest score, down to what it keeps."""
    left = list(edges)
    while len(left) > state.space.edges_kept:
        weights = state.mixing_weights()
        removed = max(left, key=_scored(score, weights, kind))
        state.fixed_weights[kind][removed] = 0.0
        left.remove(removed)


def _scored(score: Score, weights: MixingWeights, kind: str) -> Callable[[int], float]:
    return lambda edge: score(_without(weights, kind, (edge,)))


def _without(weights: MixingWeights, kind: str, place: tuple[int, ...]) -> MixingWeights:
    """The weights with zero at an edge, or at an edge and operation, and no other sum made up."""
    less = weights[kind].clone()
    less[place] = 0.0
    return {**weights, kind: less}


def _open_edges(decided: Tensor) -> list[int]:
    return [edge for edge, row in enumerate(decided.tolist()) if UNDECIDED in row]


def _open_nodes(decided: Tensor, nodes: Sequence[Sequence[int]], kept: int) -> list[Sequence[int]]:
    has_operation = decided.any(dim=1).tolist()
    return [edges for edges in nodes if sum(has_operation[e] for e in edges) > kept]


DARTS_PT = replace(
    DARTS,
    name="darts-pt",
    summary="after the search, each edge keeps the operation whose removal costs most accuracy",
    paper="https://arxiv.org/abs/2108.04392",
    settings={"epochs": sum(_EPOCHS)},
    conflicts={
        Trait.DRAWN_WEIGHTS: "it takes operations out of the mixture, and a draw is none",
        Trait.EXTRA_OPERATIONS: "it decides on the operations of the space, and on no other",
        Trait.EDGE_WEIGHTS: "edges are weighed by alpha, and decided edges by nothing",
    },
    stages=search_and_decide,
)
