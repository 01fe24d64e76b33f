"""Which implementation of a fused operator runs, and a record of which did.

The choice depends on the request, the device and the dtype alone, never on a caught exception:
a kernel that fails to compile or launch is an error, not a reason to take another path.
"""

import os
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Literal, get_args

import torch
from packaging.version import Version

from sdedge import dependencies
from sdedge.errors import KernelError

__all__ = [
    "LAUNCH_OPTIONS",
    "Impl",
    "Route",
    "choose",
    "chosen",
    "refuse_second_derivative",
    "reset",
    "resolve",
    "toolchain_gap",
]

Impl = Literal["auto", "triton", "cpu", "reference"]
Route = Literal["triton", "cpu", "reference"]

# Stated at every launch: triton's default is to change, and it warns where nothing is stated.
LAUNCH_OPTIONS = {"enable_fp_fusion": True}

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_seen: set[tuple[str, Route]] = set()


@cache
def _triton_installed() -> bool:
    return find_spec("triton") is not None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def toolchain_gap() -> str:
    """What triton lacks on this machine to launch a kernel; empty if nothing."""
    if not (os.environ.get("CC") or which("gcc") or which("clang")):
        return "there is no C compiler (install gcc)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "the headers of Python are missing (install python3-dev)"
    return ""


def _interpreter_gap() -> str:
    """Why triton's interpreter cannot run these kernels; empty if it can."""
    triton, numpy = (dependencies.installed(package) or "0" for package in ("triton", "numpy"))
    if Version(triton) < Version("3.7") and Version(numpy) >= Version("2.4"):
        return (
            f"the interpreter of triton {triton} cannot loop with numpy {numpy}; install triton "
            "3.7 or newer, or numpy below 2.4"
        )
    return ""


def _obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Why the Triton kernels cannot run on such tensors; empty if they can."""
    if not _triton_installed():
        return "triton is not installed (it has wheels for Linux only)"
    if dtype not in _DTYPES:
        return f"{dtype} is not one of {', '.join(map(str, _DTYPES))}"
    if device.type == "cuda" and (gap := toolchain_gap()):
        return f"triton builds its launcher when it first runs, and {gap}"
    if device.type != "cuda" and not _interpreted():
        return (
            f"the tensors are on {device}; move them to a CUDA device, or start Python with "
            "TRITON_INTERPRET=1 to interpret the kernels, slowly"
        )
    if device.type != "cuda":
        return _interpreter_gap()
    return ""


def resolve(impl: Impl, device: torch.device, dtype: torch.dtype, *, cpu: bool = False) -> Route:
    """Name the implementation that `impl` means for tensors of this device and dtype.

    `auto` is `triton` on CUDA for float32, float16 and bfloat16 where triton is installed; on a
    CPU it is `cpu`, torch operators with a backward pass written for it; else `reference`, plain
    torch. `cpu` says whether the operator has a `cpu` form; where not, and for halves, plain torch
    is that form.

    Raises:
        KernelError: `triton` or `cpu` was asked for and cannot run, with the reason; or `impl` is
            unknown.
    """
    if impl not in get_args(Impl):
        raise KernelError(f"unknown impl {impl!r}; choose one of {', '.join(get_args(Impl))}")
    if impl == "auto":
        if device.type == "cuda" and not _obstacle(device, dtype):
            return "triton"
        impl = "cpu" if device.type == "cpu" else "reference"
    if impl == "cpu" and device.type != "cpu":
        raise KernelError(
            f"impl='cpu' cannot run: the tensors are on {device}. impl='auto' takes what can run."
        )
    if impl == "triton" and (obstacle := _obstacle(device, dtype)):
        raise KernelError(f"impl='triton' cannot run: {obstacle}. impl='auto' takes what can run.")
    if impl == "cpu" and not (cpu and dtype in (torch.float32, torch.float64)):
        return "reference"
    return impl


def choose(
    op: str, impl: Impl, device: torch.device, dtype: torch.dtype, *, cpu: bool = False
) -> Route:
    """`resolve`, and remember the answer under the operator's name."""
    route = resolve(impl, device, dtype, cpu=cpu)
    _seen.add((op, route))
    return route


def refuse_second_derivative(op: str) -> None:
    """Raise KernelError in a backward pass that is itself recorded (create_graph=True).

    torch's once_differentiable raises only if the upstream gradient needs a gradient, and else
    leaves the second derivative out in silence.
    """
    if torch.is_grad_enabled():
        raise KernelError(
            f"{op}: its fused forms have no second derivative (create_graph=True); "
            "use impl='reference'"
        )


def chosen() -> dict[str, str]:
    """Operator -> the route that ran, or where several did "reference+triton", since `reset`."""
    return {
        op: "+".join(sorted(route for name, route in _seen if name == op))
        for op in sorted({name for name, _ in _seen})
    }


def reset() -> None:
    """Forget what ran."""
    _seen.clear()
