"""Checkpoints: what is saved comes back to the bit, and a damaged file is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from sdedge.checkpoint import (
    load_module,
    load_optimizer_tensors,
    optimizer_tensors,
    read_checkpoint,
    under_prefix,
    with_prefix,
    write_checkpoint,
)
from sdedge.errors import RunError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.checkpoint.safetensors"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_tensors_and_header_come_back_as_they_were(path: Path) -> None:
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    tensors = {
        "images": images,
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "count": torch.tensor(7),
        "bits": torch.tensor([True, False]),
        "expanded": torch.ones(1).expand(5),
        "leaf": torch.randn(3).requires_grad_(),
        "empty": torch.empty(0),
    }
    header = {"epoch": 3, "seconds": 0.1, "name": "größer", "nested": {"list": [1, None]}}
    write_checkpoint(path, tensors, header)
    checkpoint = read_checkpoint(path)
    assert checkpoint.header == header
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert torch.equal(checkpoint.tensors[name], tensor), name


def test_a_checkpoint_may_be_written_over_the_one_it_was_read_from(path: Path) -> None:
    write_checkpoint(path, {"a": torch.arange(4)}, {"step": 1})
    read = read_checkpoint(path)
    write_checkpoint(path, {"a": torch.zeros(2)}, {"step": 2})
    assert torch.equal(read.tensors["a"], torch.arange(4))
    assert read_checkpoint(path).header == {"step": 2}


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: SGD(weights, lr=0.1, momentum=0.9, weight_decay=1e-3),
        lambda weights: Adam(weights, lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3),
    ],
    ids=["sgd", "adam"],
)
def test_an_optimizer_goes_on_as_if_it_had_never_stopped(
    path: Path, make: Callable[..., Optimizer]
) -> None:
    def step(module: nn.Module, optimizer: Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        optimizer.zero_grad()
        module(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()

    straight = network().to(memory_format=torch.channels_last)
    optimizer = make(straight.parameters())
    for seed in range(3):
        step(straight, optimizer, seed)
    write_checkpoint(
        path,
        {
            **with_prefix("module", straight.state_dict()),
            **with_prefix("optimizer", optimizer_tensors(optimizer)),
        },
        {},
    )

    tensors = read_checkpoint(path).tensors
    resumed = network().to(memory_format=torch.channels_last)
    load_module(resumed, under_prefix("module", tensors), path)
    resumed_optimizer = make(resumed.parameters())
    load_optimizer_tensors(resumed_optimizer, under_prefix("optimizer", tensors), path)
    for seed in range(3, 6):
        step(straight, optimizer, seed)
        step(resumed, resumed_optimizer, seed)
    assert optimizer_tensors(optimizer)
    for expected, actual in zip(
        straight.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, actual)


def test_hyper_parameters_of_the_new_optimizer_stay() -> None:
    weight = nn.Parameter(torch.ones(2))
    old, new = SGD([weight], lr=0.1, momentum=0.9), SGD([weight], lr=0.7, momentum=0.5)
    weight.grad = torch.ones(2)
    old.step()
    load_optimizer_tensors(new, optimizer_tensors(old), Path("here"))
    assert new.param_groups[0]["lr"] == 0.7
    assert new.param_groups[0]["momentum"] == 0.5
    assert torch.equal(new.state[weight]["momentum_buffer"], torch.ones(2))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(path: Path, share: float) -> None:
    write_checkpoint(path, network().state_dict(), {"epoch": 3})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RunError, match="damaged; delete it to start over") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff" * 100, b"PK\x03\x04" * 50, b"{}" * 10])
def test_garbage_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be read") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_checkpoint(path)
    path.mkdir()
    with pytest.raises(RunError, match="cannot be read") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_weights_of_another_program_are_refused(path: Path) -> None:
    save_file({"a": torch.ones(2)}, path, metadata={"format": "pt"})
    with pytest.raises(RunError, match="was not written by sdedge") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_damaged_header_is_named(path: Path) -> None:
    save_file({"a": torch.ones(2)}, path, metadata={"sdedge": '{"epoch": '})
    with pytest.raises(RunError, match="damaged header") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_prefixes_keep_sets_apart() -> None:
    a, b = torch.ones(1), torch.zeros(1)
    together = {**with_prefix("ema", {"a": a}), **with_prefix("ema_old", {"a": b, "c/d": b})}
    assert set(together) == {"ema/a", "ema_old/a", "ema_old/c/d"}
    assert under_prefix("ema", together) == {"a": a}
    assert under_prefix("ema_old", together) == {"a": b, "c/d": b}


def test_state_that_does_not_fit_names_the_tensors_and_changes_nothing(path: Path) -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    del state["2.bias"]
    state["0.weight"] = torch.zeros(4, 3, 5, 5)
    state["head.weight"] = torch.zeros(1)
    with pytest.raises(RunError, match=r"3 tensors differ, first 0\.weight, 2\.bias, head\.weight"):
        load_module(module, state, path)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
