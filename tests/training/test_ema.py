"""The moving average, against its closed form."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sdedge.training.ema import Ema


def module() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
    return norm


def set_weight(norm: nn.BatchNorm1d, value: float) -> None:
    with torch.no_grad():
        norm.weight.fill_(value)


@pytest.mark.parametrize(("decay", "updates"), [(0.5, 1), (0.5, 6), (0.9, 3), (0.9, 200)])
def test_the_average_is_that_of_its_closed_form(decay: float, updates: int) -> None:
    norm = module()
    ema = Ema(norm, decay)
    expected = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for update in range(1, updates + 1):
        set_weight(norm, float(update))
        ema.update()
        kept = min(decay, (1 + update) / (10 + update))
        expected = kept * expected + (1 - kept) * update
    torch.testing.assert_close(ema.tensors()["weight"].double(), expected, rtol=1e-5, atol=0)


def test_the_average_is_that_of_torch_bit_for_bit() -> None:
    def average(averaged: list[Tensor], live: list[Tensor], count: Tensor | int) -> None:
        updates = int(count)  # starts at 1: torch copies the weights where it is 0
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, live, 1 - min(0.9, (1 + updates) / (10 + updates)))
        else:
            torch._foreach_copy_(averaged, live)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    ema = Ema(network, 0.9)
    expected = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    expected.n_averaged.fill_(1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(12):
        network(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
        ema.update()
        expected.update_parameters(network)
    tensors = ema.tensors()
    for name, tensor in expected.module.state_dict().items():
        assert torch.equal(tensors[name], tensor), name


def test_statistics_are_averaged_and_counters_copied() -> None:
    norm = module()
    ema = Ema(norm, 0.999)
    norm(torch.randn(50, 2) + 7)
    live = norm.running_mean
    assert live is not None
    ema.update()
    tensors = ema.tensors()
    kept = 2 / 11
    torch.testing.assert_close(tensors["running_mean"], (1 - kept) * live)
    assert int(tensors["num_batches_tracked"]) == 1


def test_two_swaps_are_none() -> None:
    norm = module()
    ema = Ema(norm, 0.5)
    set_weight(norm, 5.0)
    ema.update()
    live = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    shadow = {name: tensor.clone() for name, tensor in ema.tensors().items()}
    ema.swap()
    assert torch.equal(norm.weight, shadow["weight"])
    assert torch.equal(ema.tensors()["weight"], live["weight"])
    assert not torch.equal(live["weight"], shadow["weight"])
    ema.swap()
    assert all(torch.equal(norm.state_dict()[name], live[name]) for name in live)
    assert all(torch.equal(ema.tensors()[name], shadow[name]) for name in shadow)


def test_a_restored_average_goes_on_where_it_was() -> None:
    norm = module()
    ema = Ema(norm, 0.9)
    for value in range(3):
        set_weight(norm, float(value))
        ema.update()
    restored = Ema(norm, 0.9)
    restored.load({name: t.clone() for name, t in ema.tensors().items()}, Path("here"))
    for each in (ema, restored):
        set_weight(norm, 10.0)
        each.update()
    first, second = ema.tensors(), restored.tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_average_follows_weights_that_an_optimizer_moves() -> None:
    norm = module()
    ema = Ema(norm, 0.0)
    optimizer = torch.optim.SGD(norm.parameters(), lr=0.1)
    norm.weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    ema.update()
    assert torch.equal(ema.tensors()["weight"], norm.weight)


def test_a_module_without_counters_is_averaged() -> None:
    linear = nn.Linear(2, 1)
    ema = Ema(linear, 0.0)
    with torch.no_grad():
        linear.weight.fill_(3.0)
    ema.update()
    assert torch.equal(ema.tensors()["weight"], linear.weight)
