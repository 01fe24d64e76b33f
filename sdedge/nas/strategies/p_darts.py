"""P-DARTS: depth grows as operations go (Chen et al., 2019), https://arxiv.org/abs/1904.12760

Three stages, each with a deeper supernet (5, 11, 17 cells in the paper) and, on every edge, the
strongest operations of the stage before (8, 5, 3; section 3.2). Skips pass through dropout that
fades, and the normal cell keeps at most two of them (section 3.3).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.genotype import Genotype
from sdedge.nas.scalars import SKIP_DROPOUT, Schedule
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import OperationMask, Stage, Strategy
from sdedge.nas.traits import Trait
from sdedge.operations import DARTS_OPERATIONS, NAS_BENCH_201, get_operation
from sdedge.space.darts.cell import edge_index
from sdedge.space.darts.derive import derive_darts
from sdedge.space.spaces import get_space
from sdedge.space.supernet import MixingWeights

_DEPTHS = (1.0, 2.2, 3.4)  # 5, 11, 17 of 5
_KEPT = (5, 3, 1)  # operations an edge after each stage
_HELD = (8, 5, 3)
_DROPOUT = (0.0, 0.4, 0.7)
_SKIPS = 2


def three_stages(config: SearchConfig) -> list[Stage]:
    """A third of the epochs each; the settings' cells are those of the first."""
    epochs = max(1, config.epochs // 3)
    operations = get_space(config.space, config.operations).operations

    def of_stage(share: Schedule, strategy: Strategy) -> Strategy:
        return replace(
            strategy,
            schedules={**strategy.schedules, SKIP_DROPOUT: share},
            derive=partial(derive_with_few_skips, operations=operations),
        )

    return [
        Stage(
            epochs=epochs,
            settings={"cells": round(depth * config.cells)},
            vary=partial(of_stage, dropout_on_skips(start, config.alpha_warmup)),
            narrow=partial(keep_strongest, keep=min(keep, len(operations))),
            cost=depth * min(held, len(operations)),
        )
        for depth, keep, held, start in zip(_DEPTHS, _KEPT, _HELD, _DROPOUT, strict=True)
    ]


def keep_strongest(weights: MixingWeights, keep: int) -> OperationMask:
    """The `keep` strongest operations of each edge of all cell types."""
    return {name: strongest(matrix, keep) for name, matrix in weights.items()}


def strongest(weights: Tensor, keep: int) -> Tensor:
    """Which operations of each edge are among its `keep` strongest: (edges, operations) of bool."""
    kept = torch.zeros_like(weights, dtype=torch.bool)
    return kept.scatter_(1, weights.topk(keep, dim=1).indices, True)


def dropout_on_skips(start: float, warmup: float) -> Schedule:
    """Falls a little during the warmup of alpha, and exponentially after (the authors' code)."""

    def share(epoch: int, epochs: int) -> float:
        waited = round(warmup * epochs)
        if epoch < waited:
            return start * (epochs - epoch - 1) / epochs
        return start * math.exp(-0.2 * (epoch - waited))

    return share


def derive_with_few_skips(
    weights: MixingWeights, operations: Sequence[str] = DARTS_OPERATIONS
) -> Genotype:
    """As DARTS derives, but without the weakest skips of the normal cell that exceed two."""
    normal = weights["normal"].clone()
    genotype = derive_darts({**weights, "normal": normal}, operations)
    while genotype.skip_count > _SKIPS:
        skips = [place for place in _skips(genotype, operations) if normal[place] > 0]
        if not skips:  # there is nothing else to derive
            break
        normal[min(skips, key=lambda place: float(normal[place]))] = 0
        genotype = derive_darts({**weights, "normal": normal}, operations)
    return genotype


def _skips(genotype: Genotype, operations: Sequence[str]) -> list[tuple[int, int]]:
    """Edge and number of each skip that the normal cell keeps."""
    return [
        (edge_index(place // 2, source), operations.index(name))
        for place, (name, source) in enumerate(genotype.normal)
        if get_operation(name).is_skip
    ]


P_DARTS = replace(
    DARTS,
    name="p-darts",
    summary="three stages: deeper supernets, fewer operations, dropout on skips",
    paper="https://arxiv.org/abs/1904.12760",
    settings={
        "epochs": 75,
        "batch_size": 96,
        "cells": 5,
        "weight_lr_min": 0.0,
        "alpha_lr": 6e-4,
        "alpha_warmup": 0.4,  # 10 of the 25 epochs of a stage
    },
    traits=frozenset({Trait.RANDOM_PASSES}),
    excluded_spaces={
        NAS_BENCH_201: "its stages have deeper and deeper supernets, and the benchmark fixes the "
        "depth"
    },
    stages=three_stages,
    derive=derive_with_few_skips,
)
