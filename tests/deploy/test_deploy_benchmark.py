"""The table of naive and our files: complete after a green check, and no speed after a red one."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from factories.exports import export_network
from factories.networks import SEMANTIC, describe, trained
from sdedge.data.dataset import Dataset
from sdedge.deploy.latency.compare import Latency
from sdedge.errors import BenchError, ExportError
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """With few calibration images, and our own fp32 file for the naive one, which takes long."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    module = import_module("deploy")

    def ours(network: Network, image_size: int) -> bytes:
        return export_network(network, *ours.of)[0]

    monkeypatch.setattr(module, "naive_fp32", ours)
    monkeypatch.setattr(module, "CALIBRATION_IMAGES", 12)
    yield module
    sys.modules.pop("deploy")


@pytest.fixture
def description(tiny_dataset: Dataset) -> NetworkDescription:
    described = describe(SEMANTIC, classes=3)
    return replace(described, mean=tiny_dataset.mean, std=tiny_dataset.std)


@pytest.mark.slow
def test_a_row_for_each_file(
    deploy: ModuleType, description: NetworkDescription, tiny_dataset: Dataset
) -> None:
    network = trained(description)
    deploy.naive_fp32.of = (description, tiny_dataset.test)
    deploy.LEAST_AGREEMENT = 0.0  # of random weights, quantised
    summary = deploy.measure(network, description, tiny_dataset, limit=8, seconds=0.1)
    assert summary["images"] == 8
    for name in deploy.ROWS:
        assert summary[name].keys() >= {
            "nodes", "bytes", "accuracy", "latency_p50_ms", "latency_p99_ms"
        }  # fmt: skip
    assert summary["int8"]["bytes"] < summary["naive_int8"]["bytes"]
    assert summary["int8"]["nodes"] < summary["naive_int8"]["nodes"]


@pytest.mark.slow
def test_a_wrong_file_is_not_timed(
    deploy: ModuleType,
    description: NetworkDescription,
    tiny_dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> dict[str, Latency]:
        raise AssertionError("timed")

    network, other = trained(description), trained(description)
    with torch.no_grad():
        other.classifier.weight.neg_()
        other.classifier.bias.neg_()
    wrong, _ = export_network(other, description, tiny_dataset.test)
    deploy.naive_fp32.of = (description, tiny_dataset.test)
    monkeypatch.setattr(deploy, "compare_latency", never)
    monkeypatch.setattr(deploy, "naive_int8", lambda *_: wrong)
    with pytest.raises(BenchError, match=r"WRONG: naive_int8.*nothing was timed"):
        deploy.measure(network, description, tiny_dataset, limit=None, seconds=0.1)
    monkeypatch.setattr(deploy, "naive_fp32", lambda *_: wrong)
    with pytest.raises(ExportError, match="differ from torch's"):
        deploy.measure(network, description, tiny_dataset, limit=None, seconds=0.1)
