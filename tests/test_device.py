"""Devices by name, and seeds that depend on what they are for alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sdedge import device
from sdedge.device import (
    derived_seed,
    explain_out_of_memory,
    make_deterministic,
    peak_memory_bytes,
    require_memory,
    seed_step,
    select_device,
)
from sdedge.errors import ConfigError, RunError


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert select_device("auto") == torch.device(expected)


def test_the_cpu_is_always_there() -> None:
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:", "cuda:x", "mps", "meta"])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select_device(name)
    assert f"device is {name!r}" in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=rf"'{name}'.* 0 CUDA devices.*--device cpu"):
        select_device(name)


def test_seeds_depend_on_every_part_of_the_path() -> None:
    paths = [("train", 0, 1), ("train", 1, 0), ("train", 0), ("search", 0, 1), ("train", "0", 1)]
    seeds = {derived_seed(seed, *path) for seed in (0, 1, -1) for path in paths}
    assert len(seeds) == 3 * len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derived_seed(2, "train", 3, 17) == 6186030169618684324


def test_a_step_draws_the_same_numbers_whatever_came_before() -> None:
    def drawn(*path: object) -> torch.Tensor:
        seed_step(2, *path)
        return torch.rand(4)

    first = drawn("search", 3, 17)
    torch.rand(5)
    assert torch.equal(drawn("search", 3, 17), first)
    assert not torch.equal(drawn("search", 3, 18), first)


@pytest.fixture
def cudnn() -> Iterator[None]:
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = flags


@pytest.mark.usefixtures("cudnn")
def test_deterministic_kernels_are_chosen() -> None:
    make_deterministic()
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic


def test_peak_memory_is_in_bytes() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert kilobytes is not None
    assert peak_memory_bytes(torch.device("cpu")) == pytest.approx(
        1024 * int(kilobytes[1]), rel=0.1
    )


CPU = torch.device("cpu")


def test_too_little_memory_is_told_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_memory_bytes", lambda: 3 * 2**30)
    require_memory(3 * 2**30, CPU, "search")
    told = r"search phase needs 4\.0 GiB .* 3\.0 GiB are available; use a smaller --batch-size"
    with pytest.raises(RunError, match=told):
        require_memory(4 * 2**30, CPU, "search")
    require_memory(4 * 2**30, torch.device("cuda"), "search")
    monkeypatch.setattr(device, "available_memory_bytes", lambda: None)
    require_memory(2**60, CPU, "search")


def test_memory_that_runs_out_is_told_in_a_line() -> None:
    told = r"^cpu ran out of memory; use a smaller --batch-size"
    with pytest.raises(RunError, match=told), explain_out_of_memory(CPU):
        torch.empty(2**58)
    with pytest.raises(RunError, match="cpu ran out of memory"), explain_out_of_memory(CPU):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory(CPU):
        raise RuntimeError("a wrong shape")
