"""The estimate of a step's memory: below what the networks really keep, and not far below."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from sdedge.genotype import load_genotype
from sdedge.space.darts.footprint import network_convolutions, supernet_convolutions
from sdedge.space.darts.network import Network, Stem
from sdedge.space.darts.supernet import Supernet
from sdedge.space.footprint import Convolutions, step_bytes
from sdedge.space.nasbench201 import footprint as nb201
from sdedge.space.nasbench201.supernet import Nb201Supernet
from sdedge.space.spaces import SPACES


def outputs_of_dense_convolutions(module: nn.Module, *inputs: object) -> int:
    """Their numbers, in a forward pass."""
    counted = 0

    def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d) and convolution.groups == 1:
            convolution.register_forward_hook(add)
    with torch.no_grad():
        module(*inputs)
    return counted


def outputs(convolutions: Iterable[Convolutions]) -> int:
    return sum(c.number * c.channels * c.pixels for c in convolutions)


def weights(convolutions: Iterable[Convolutions]) -> int:
    return sum(c.number * c.channels**2 for c in convolutions)


@pytest.mark.parametrize("space", ["darts", "nas-bench-201"])
@pytest.mark.parametrize("partial", [1, 2])
def test_a_supernet_keeps_more(space: str, partial: int) -> None:
    kind = {"darts": Supernet, "nas-bench-201": Nb201Supernet}[space]
    depth = {"cells": 4} if kind is Supernet else {"cells_per_stage": 2}
    network = kind(channels=8, partial=partial, impl="reference", **depth)
    edges, operations = SPACES[space].edges, len(SPACES[space].operations)
    mixing = {name: torch.ones(edges, operations) for name in SPACES[space].cell_types}
    kept = outputs_of_dense_convolutions(network, torch.ones(1, 3, 10, 10), mixing)
    counted = list(SPACES[space].convolutions(8, next(iter(depth.values())), 10, partial=partial))
    assert 0.6 * kept < outputs(counted) <= kept
    assert weights(counted) <= sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["DARTS_V2", "PDARTS", "NASNet_A"])
@pytest.mark.parametrize(("stem", "image_size"), [("cifar", 10), ("imagenet", 66)])
def test_a_derived_network_keeps_more(name: str, stem: Stem, image_size: int) -> None:
    genotype = load_genotype(name)
    size = {"channels": 8, "cells": 4, "stem": stem}
    network = Network(genotype, classes=10, **size).eval()
    kept = outputs_of_dense_convolutions(network, torch.ones(1, 3, image_size, image_size))
    operations = ([name for name, _ in cell] for cell in (genotype.normal, genotype.reduce))
    counted = list(network_convolutions(*operations, image_size=image_size, **size))
    assert 0.6 * kept < outputs(counted) <= kept
    assert weights(counted) <= sum(p.numel() for p in network.parameters())


def test_edges_that_may_all_be_skips_keep_nothing_for_certain() -> None:
    assert outputs(nb201.supernet_convolutions(16, 5, 32, sparse=True)) == 0
    sparse = outputs(supernet_convolutions(16, 8, 32, sparse=True))
    assert 0 < sparse < outputs(supernet_convolutions(16, 8, 32)) / 20


def test_a_step_holds_weights_and_what_is_larger_of_gradients_and_outputs() -> None:
    assert step_bytes([Convolutions(3, 10, 4)], batch_size=1) == 4 * (300 + 300)
    assert step_bytes([Convolutions(3, 10, 4)], batch_size=100) == 4 * (300 + 12_000)
