"""The derivation, against its definition written out as a search over all choices."""

import itertools

import pytest
import torch

from sdedge.genotype import Edge
from sdedge.operations import DARTS_OPERATIONS
from sdedge.space.darts.derive import derive_darts
from sdedge.space.darts.supernet import WEIGHT_SHAPE

SEP, DIL = DARTS_OPERATIONS.index("sep_conv_3x3"), DARTS_OPERATIONS.index("dil_conv_5x5")
SKIP, NONE = DARTS_OPERATIONS.index("skip_connect"), DARTS_OPERATIONS.index("none")
FIRST_EDGE = {2: 0, 3: 2, 4: 5, 5: 9}


def flat() -> dict[str, torch.Tensor]:
    return {name: torch.full(WEIGHT_SHAPE, 0.1) for name in ("normal", "reduce")}


def by_definition(weights: torch.Tensor) -> tuple[Edge, ...]:
    """For each node, the best of all ordered pairs of (source, operation), by strength."""
    cell: list[Edge] = []
    for node, first in FIRST_EDGE.items():
        choices = [
            (-float(weights[first + source, operation]), source, operation)
            for source in range(node)
            for operation in range(1, len(DARTS_OPERATIONS))
        ]
        pairs = [p for p in itertools.permutations(choices, 2) if p[0][1] != p[1][1]]
        cell += [(DARTS_OPERATIONS[operation], source) for _, source, operation in min(pairs)]
    return tuple(cell)


@pytest.mark.parametrize("seed", range(10))
def test_random_weights_derive_to_the_best_of_all_choices(seed: int) -> None:
    torch.manual_seed(seed)
    weights = {name: torch.randn(WEIGHT_SHAPE).softmax(dim=1) for name in ("normal", "reduce")}
    if seed % 2:  # few values, and so many ties
        weights = {name: (8 * weight).round() for name, weight in weights.items()}
    genotype = derive_darts(weights)
    assert genotype.normal == by_definition(weights["normal"])
    assert genotype.reduce == by_definition(weights["reduce"])
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


def test_ties_go_to_the_lower_index() -> None:
    genotype = derive_darts(flat())
    assert genotype.normal == genotype.reduce == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4


def test_none_is_never_kept_and_does_not_make_an_edge_strong() -> None:
    weights = flat()
    weights["normal"][:, NONE] = 0.9
    weights["normal"][FIRST_EDGE[5] + 4, NONE] = 5.0
    weights["normal"][FIRST_EDGE[5] + 3, SKIP] = 0.2
    cell = derive_darts(weights).normal
    assert cell[6:] == (("skip_connect", 3), ("max_pool_3x3", 0))
    assert all(operation != "none" for operation, _ in cell)


def test_edges_are_listed_by_falling_strength() -> None:
    weights = flat()
    weights["reduce"][FIRST_EDGE[4] + 0, SEP] = 0.3
    weights["reduce"][FIRST_EDGE[4] + 3, DIL] = 0.4
    weights["reduce"][FIRST_EDGE[4] + 3, SEP] = 0.35
    genotype = derive_darts(weights)
    assert genotype.reduce[4:6] == (("dil_conv_5x5", 3), ("sep_conv_3x3", 0))
    assert genotype.normal[4:6] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))
