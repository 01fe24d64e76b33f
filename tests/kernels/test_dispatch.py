import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdedge import dependencies
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, dispatch, masked_mse, mixed_sum

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def _no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.mark.usefixtures("_no_interpreter")
@pytest.mark.parametrize(
    ("impl", "device", "dtype", "route"),
    [
        ("auto", CUDA, torch.float32, "triton"),
        ("auto", CUDA, torch.float16, "triton"),
        ("auto", CUDA, torch.bfloat16, "triton"),
        ("auto", CUDA, torch.float64, "reference"),
        ("auto", CPU, torch.float32, "reference"),
        ("triton", CUDA, torch.float32, "triton"),
        ("reference", CUDA, torch.float32, "reference"),
        ("reference", CPU, torch.float64, "reference"),
    ],
)
def test_resolve(impl: dispatch.Impl, device: torch.device, dtype: torch.dtype, route: str) -> None:
    assert dispatch.resolve(impl, device, dtype) == route


@pytest.mark.usefixtures("_no_interpreter")
def test_explicit_triton_names_its_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelError, match=r"tensors are on cpu.*TRITON_INTERPRET=1"):
        dispatch.resolve("triton", CPU, torch.float32)
    with pytest.raises(KernelError, match=r"torch\.float64 is not one of torch\.float32"):
        dispatch.resolve("triton", CUDA, torch.float64)
    monkeypatch.setattr(dispatch, "_triton_installed", lambda: False)
    with pytest.raises(KernelError, match="triton is not installed"):
        dispatch.resolve("triton", CUDA, torch.float32)
    assert dispatch.resolve("auto", CUDA, torch.float32) == "reference"


def test_interpreter_serves_explicit_requests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.resolve("triton", CPU, torch.float32) == "triton"
    assert dispatch.resolve("auto", CPU, torch.float32) == "reference"


@pytest.mark.parametrize(
    ("triton", "numpy", "runs"),
    [("3.6.0", "2.4.6", False), ("3.6.0", "2.3.5", True), ("3.7.0", "2.4.6", True)],
)
def test_an_interpreter_that_cannot_loop_is_named(
    triton: str, numpy: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(dependencies, "installed", {"triton": triton, "numpy": numpy}.get)
    assert dispatch.resolve("triton", CUDA, torch.float32) == "triton"
    if runs:
        assert dispatch.resolve("triton", CPU, torch.float32) == "triton"
    else:
        with pytest.raises(KernelError, match=r"triton 3\.6\.0 cannot loop with numpy 2\.4\.6"):
            dispatch.resolve("triton", CPU, torch.float32)


def test_unknown_impl_lists_the_known() -> None:
    with pytest.raises(KernelError, match="'cuda'; choose one of auto, triton, cpu, reference"):
        dispatch.resolve("cuda", CPU, torch.float32)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("impl", "device", "has_cpu_form", "route"),
    [
        ("auto", "cpu", True, "cpu"),
        ("auto", "cpu", False, "reference"),
        ("cpu", "cpu", True, "cpu"),
        ("cpu", "cpu", False, "reference"),
        ("reference", "cpu", True, "reference"),
        ("reference", "cuda", True, "reference"),
    ],
)
def test_the_cpu_form_is_the_choice_on_a_cpu(
    impl: Impl, device: str, has_cpu_form: bool, route: str
) -> None:
    found = dispatch.resolve(impl, torch.device(device), torch.float32, cpu=has_cpu_form)
    assert found == route


def test_the_cpu_form_is_refused_elsewhere() -> None:
    with pytest.raises(KernelError, match="impl='cpu' cannot run: the tensors are on meta"):
        dispatch.resolve("cpu", torch.device("meta"), torch.float32)


@pytest.mark.usefixtures("_no_interpreter")
def test_operators_refuse_triton_on_the_cpu() -> None:
    with pytest.raises(KernelError, match="tensors are on cpu"):
        mixed_sum([torch.ones(2)], torch.ones(1), impl="triton")
    with pytest.raises(KernelError, match="tensors are on cpu"):
        masked_mse(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1), 2, "triton")
    assert chosen() == {}


def test_record_of_what_ran(device: torch.device) -> None:
    xs, weights = [torch.ones(2, device=device)], torch.ones(1, device=device)
    image, mask = torch.ones(1, 1, 2, 2, device=device), torch.ones(1, 1, device=device)
    masked_mse(image, image, mask, 2, impl="triton")
    assert chosen() == {"masked_mse": "triton"}
    mixed_sum(xs, weights, impl="reference")
    assert chosen() == {"masked_mse": "triton", "mixed_sum": "reference"}
    mixed_sum(xs, weights, impl="triton")
    assert chosen() == {"masked_mse": "triton", "mixed_sum": "reference+triton"}
    dispatch.reset()
    assert chosen() == {}


@pytest.mark.slow
def test_works_without_triton() -> None:
    script = """
import sys
sys.modules["triton"] = None  # what an import of it would raise where it is not installed
import torch
from sdedge.errors import KernelError
from sdedge.kernels import chosen, masked_mse, mixed_sum

mixed_sum([torch.ones(2)], torch.ones(1))
masked_mse(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1), 2)
assert chosen() == {"masked_mse": "reference", "mixed_sum": "reference"}, chosen()
try:
    mixed_sum([torch.ones(2)], torch.ones(1), impl="triton")
except KernelError as error:
    assert "triton is not installed" in str(error)
else:
    raise SystemExit("no error")
try:
    import kernels
except ImportError as error:
    assert "sdedge.kernels" in str(error)
else:
    raise SystemExit("the folder was imported under its bare name")
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
