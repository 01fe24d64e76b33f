"""A trained network on disk: it comes back to the bit, and damage is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from sdedge.checkpoint import read_checkpoint, write_checkpoint
from sdedge.errors import RunError
from sdedge.genotype import published
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription, load_network, save_network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def description() -> NetworkDescription:
    return NetworkDescription(
        genotype=published()["DARTS_V2"].genotype,
        channels=4,
        cells=3,
        stem="cifar",
        classes=("cat", "dög"),
        image_size=16,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        dataset="folder:/pets",
    )


def trained(*, auxiliary: bool = False) -> Network:
    torch.manual_seed(0)
    network = Network(description().genotype, channels=4, cells=3, classes=2, auxiliary=auxiliary)
    network(torch.randn(4, 3, 32, 32))  # batch norm's statistics are part of the state
    return network


def test_a_network_comes_back_to_the_bit(path: Path) -> None:
    network = trained()
    save_network(path, network, description())
    loaded, found = load_network(path)
    assert found == description()
    assert not loaded.training
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(x), network.eval()(x))


def test_the_auxiliary_head_stays_behind(path: Path) -> None:
    network = trained(auxiliary=True)
    save_network(path, network, description())
    loaded, _ = load_network(path)
    assert not any(name.startswith("auxiliary") for name in loaded.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(x), network.eval()(x))


def test_the_description_survives_json() -> None:
    data = json.loads(json.dumps(description().to_dict()))
    assert NetworkDescription.from_dict(data, source="here") == description()


@pytest.mark.parametrize("field", description().to_dict())
def test_a_missing_field_is_named(path: Path, field: str) -> None:
    data = description().to_dict()
    del data[field]
    with pytest.raises(RunError, match=f"damaged.*{field}") as caught:
        NetworkDescription.from_dict(data, source=str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("genotype", "DARTS_V2"),
        ("genotype", {"normal": [], "reduce": []}),
        ("channels", "wide"),
        ("channels", None),
        ("channels", 0),
        ("channels", -4),
        ("cells", 0),
        ("stem", "vgg"),
        ("stem", ["cifar"]),
        ("classes", 10),
        ("classes", []),
        ("image_size", 0),
        ("mean", [0.5, 0.5]),
        ("mean", 0.5),
        ("std", [0.1, 0.1, "x"]),
        ("std", [0.1, 0.1, 0.0]),
        ("channels", "8"),
        ("channels", 8.9),
        ("channels", True),
        ("channels", 10**9),
        ("channels", 10**400),
        ("channels", float("inf")),
        ("cells", 10**9),
        ("image_size", 10**9),
        ("image_size", float("nan")),
        ("classes", "abc"),
        ("classes", [1, 2]),
        ("classes", ["a"] * 100_001),
        ("genotype", {"normal": [["sep_conv_3x3", 0]] * 2000, "reduce": []}),
    ],
)
def test_a_damaged_description_is_named_when_the_network_is_loaded(
    path: Path, field: str, value: Any
) -> None:
    save_network(path, trained(), description())
    checkpoint = read_checkpoint(path)
    header = json.dumps({**checkpoint.header, field: value})  # NaN and infinity included
    path.write_bytes(save(checkpoint.tensors, metadata={"sdedge": header}))
    with pytest.raises(RunError) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("channels", 8), ("cells", 4), ("stem", "imagenet")])
def test_weights_of_another_network_are_refused(path: Path, field: str, value: Any) -> None:
    save_network(path, trained(), description())
    checkpoint = read_checkpoint(path)
    write_checkpoint(path, checkpoint.tensors, {**checkpoint.header, field: value})
    with pytest.raises(RunError, match=r"does not fit this network: \d+ tensors differ") as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_a_description_of_a_huge_network_takes_no_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network(path, trained(), description())
    checkpoint = read_checkpoint(path)
    huge = {"channels": 1024, "cells": 100, "classes": ["a"] * 100_000}
    write_checkpoint(path, checkpoint.tensors, {**checkpoint.header, **huge})
    devices: list[str] = []
    build = NetworkDescription.build

    def recorded(description: NetworkDescription) -> Network:
        network = build(description)
        devices.append(next(network.parameters()).device.type)
        return network

    monkeypatch.setattr(NetworkDescription, "build", recorded)
    with pytest.raises(RunError, match="does not fit this network"):
        load_network(path)
    assert devices == ["meta"]


def test_a_truncated_file_is_named(path: Path) -> None:
    save_network(path, trained(), description())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot be read") as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_a_checkpoint_of_a_phase_is_no_network(path: Path) -> None:
    write_checkpoint(path, {}, {"phase": "search", "epoch": 3})
    with pytest.raises(RunError, match="description of the network is damaged") as caught:
        load_network(path)
    assert str(path) in str(caught.value)
