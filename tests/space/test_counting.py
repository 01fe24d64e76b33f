"""The published counts are gates: a wrong layer anywhere in the space moves them."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sdedge.bounds import Stem
from sdedge.genotype import published
from sdedge.space.counting import Counts, count_network
from sdedge.space.darts.counting import count_genotype
from sdedge.space.darts.network import Network

EXPECTED = json.loads(Path(__file__).with_name("published_counts.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def _no_collection() -> Iterator[None]:
    """Networks hold no cycles; looking for some takes as long as building one."""
    gc.disable()
    yield
    gc.enable()


def test_every_published_genotype_has_its_counts_checked() -> None:
    assert set(EXPECTED) == set(published())


@pytest.mark.parametrize("name", EXPECTED)
def test_counts_equal_the_published_ones(name: str) -> None:
    genotype, expected = published()[name].genotype, EXPECTED[name]
    with torch.device("meta"):
        network = Network(genotype, channels=36, cells=20, classes=10)
        cifar10 = count_network(network, 32)
        network.classifier = nn.Linear(network.classifier.in_features, 100)
    assert cifar10 == Counts(expected["params_c10"], expected["macs_c10"])
    assert sum(p.numel() for p in network.parameters()) == expected["params_c100"]
    imagenet = count_genotype(
        genotype, channels=48, cells=14, classes=1000, stem="imagenet", image_size=224
    )
    assert imagenet == Counts(expected["params_imagenet"], expected["macs_imagenet"])


def test_a_genotype_is_counted_at_the_paper_s_setting() -> None:
    expected = EXPECTED["DARTS_V2"]
    genotype = published()["DARTS_V2"].genotype
    assert count_genotype(genotype) == Counts(expected["params_c10"], expected["macs_c10"])
    assert count_genotype(genotype, classes=100).params == expected["params_c100"]


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", ["NASNet_A", "DARTS_V2"])
def test_counts_equal_those_of_what_really_runs(name: str, stem: Stem) -> None:
    network = Network(published()[name].genotype, channels=4, cells=3, classes=5, stem=stem).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(torch.zeros(1, 3, 30, 30))
    params = sum(parameter.numel() for parameter in network.parameters())
    assert count_network(network, 30) == Counts(params, flops.get_total_flops() // 2)


def test_the_auxiliary_head_counts_for_nothing() -> None:
    genotype = published()["DARTS_V2"].genotype
    plain, with_head = (
        Network(genotype, channels=4, cells=3, classes=5, auxiliary=auxiliary)
        for auxiliary in (False, True)
    )
    assert count_network(with_head, 32) == count_network(plain, 32)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_as_it_was(training: bool) -> None:
    network = Network(
        published()["DARTS_V2"].genotype, channels=4, cells=3, classes=5, auxiliary=True
    ).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_network(network, 32)
    assert all(module.training is training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
