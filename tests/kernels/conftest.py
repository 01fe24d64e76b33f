"""Test the fused kernels on the GPU if there is one, else in triton's interpreter."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sdedge.kernels import dispatch

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    if "triton" in sys.modules:
        raise pytest.UsageError(
            "triton was imported before its interpreter was chosen; set TRITON_INTERPRET=1"
        )
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _fresh_record() -> Iterator[None]:
    dispatch.reset()
    yield
    dispatch.reset()


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what torch leaves uninitialised with NaN, so that reading it shows."""

    def poisoned(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate_nan(*args: object, **kwargs: object) -> Tensor:
            memory = allocate(*args, **kwargs)
            return memory.fill_(torch.nan) if memory.is_floating_point() else memory

        return allocate_nan

    for name in ("empty", "empty_like", "empty_strided"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))


@pytest.fixture(scope="session")
def benchmark_module() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "kernels.py"
    spec = importlib.util.spec_from_file_location("kernels_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def assert_as_accurate(
    benchmark_module: ModuleType,
) -> Callable[[list[Tensor], list[Tensor], list[Tensor]], None]:
    """Hold [output, *gradients] of fused and plain torch to the benchmark's rule on float64."""

    def check(fused: list[Tensor], eager: list[Tensor], exact: list[Tensor]) -> None:
        assert not benchmark_module.first_excess(fused, eager, exact)

    return check
