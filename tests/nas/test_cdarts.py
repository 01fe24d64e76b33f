"""CDARTS: the derived network beside the supernet, and what each tells the other."""

import pytest
import torch

from factories.bilevel import batches, build
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import ConfigError
from sdedge.genotype import Genotype
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.companion import Companion, one_hot
from sdedge.nas.phase import SearchPhase
from sdedge.nas.strategies.cdarts import HELD_BACK, divergence
from sdedge.space.nasbench201.cell import Nb201Cell
from sdedge.space.spaces import SPACES


def cdarts(space: str = "darts", epoch: int = 0) -> Bilevel:
    bilevel = build("cdarts", "classification", torch.float64, space=space)
    bilevel.begin_epoch(epoch, 10)
    return bilevel


def companion_of(bilevel: Bilevel) -> Companion:
    assert bilevel.companion is not None
    return bilevel.companion


@pytest.mark.parametrize("name", SPACES)
def test_the_companion_runs_the_derived_architecture_and_no_other_operation(name: str) -> None:
    bilevel = cdarts(name)
    space, weights = SPACES[name], bilevel.mixing_weights()
    kept = one_hot(space, weights)
    genotype = space.derive(weights)
    count = len(genotype.normal + genotype.reduce) if isinstance(genotype, Genotype) else 6
    assert sum(float(matrix.sum()) for matrix in kept.values()) == count
    again = {name: matrix + 1e-3 * weights[name] for name, matrix in kept.items()}
    assert set(space.places(space.derive(again))) == set(space.places(genotype))
    if isinstance(genotype, Nb201Cell):
        assert [space.operations[k] for k in kept["cell"].argmax(dim=1)] == [*genotype.operations]

    batch, _ = batches(bilevel)
    loss = companion_of(bilevel)(batch.inputs, weights).logits.sum()
    loss.backward()
    moved = [p for p in companion_of(bilevel).parameters() if p.grad is not None]
    assert 0 < len(moved) < len(list(companion_of(bilevel).parameters()))


def test_the_divergence_is_that_of_softened_scores() -> None:
    torch.manual_seed(0)
    search, evaluation = torch.randn(2, 5, 3, dtype=torch.float64)
    p, q = (search / 2).softmax(dim=1), (evaluation / 2).softmax(dim=1)
    torch.testing.assert_close(
        divergence(search, evaluation), 4 * (p * (p / q).log()).sum(dim=1).mean()
    )
    assert float(divergence(search, search)) == pytest.approx(0, abs=1e-12)


def test_alpha_hears_the_derived_network_and_both_networks_learn() -> None:
    bilevel = cdarts()
    train, search = batches(bilevel)
    taught = bilevel.strategy.alpha_gradient(bilevel, train, search)
    with torch.no_grad():
        for parameter in companion_of(bilevel).parameters():
            parameter.mul_(1.5)
    other = bilevel.strategy.alpha_gradient(bilevel, train, search)
    assert not torch.allclose(taught[0], other[0]), "another teacher, another gradient"

    networks = (bilevel.supernet.classifier, companion_of(bilevel).network.classifier)
    before = [network.weight.detach().clone() for network in networks]
    bilevel.weight_step(train)
    for network, weight in zip(networks, before, strict=True):
        assert not torch.equal(network.weight, weight)
    assert all(alpha.grad is None for alpha in bilevel.alpha_list)


def test_skips_and_pools_are_held_back_at_first() -> None:
    first, last = cdarts(epoch=0), cdarts(epoch=9)
    assert float(first.scalars[HELD_BACK]) == 5
    assert float(last.scalars[HELD_BACK]) == pytest.approx(0.5)
    train, search = batches(first)
    gradients = [
        bilevel.strategy.alpha_gradient(bilevel, train, search)[0] for bilevel in (first, last)
    ]
    pushed = gradients[0] - gradients[1]
    sign = first.alphas["normal"].detach().sign()
    expected = torch.zeros_like(pushed)
    expected[:, 1:4] = 4.5 / 14 / 2 * sign[:, 1:4]  # of 14 edges, and of two cell types
    torch.testing.assert_close(pushed, expected)


def test_a_task_without_class_scores_is_refused(tiny_dataset: Dataset) -> None:
    config = SearchConfig(
        strategy="cdarts", task="mim", channels=2, cells=3, batch_size=4, patch_size=4
    )
    with pytest.raises(ConfigError, match="cdarts compares class scores, which the mim task does"):
        SearchPhase(config, tiny_dataset)
