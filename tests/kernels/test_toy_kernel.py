"""A kernel op of one's own, as docs/extending.md has it: dispatch, float64, ahead of time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factories.scaled_add import scaled_add
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen

ROOT = Path(__file__).parents[2]
Check = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]


def forward_backward(leaves: list[Tensor], upstream: Tensor, impl: Impl) -> list[Tensor]:
    """[result, gradients]"""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    z = scaled_add(*leaves, impl=impl)
    return [z.detach(), *torch.autograd.grad(z, leaves, upstream.to(z.dtype))]


@pytest.mark.parametrize("impl", ["triton", "cpu"])
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 3, 32, 32), id="whole blocks"),
        pytest.param((3, 5, 7, 11), id="the last block is part full"),
        pytest.param((1,), id="one element"),
    ],
)
def test_every_form_is_as_accurate_as_torch(
    shape: tuple[int, ...], impl: Impl, device: torch.device, assert_as_accurate: Check
) -> None:
    if impl == "cpu":
        device = torch.device("cpu")
    torch.manual_seed(0)
    x, y, upstream = torch.randn(3, *shape).to(device)
    leaves = [x, y, torch.tensor([-1.7], device=device)]
    written = forward_backward(leaves, upstream, impl)
    assert chosen() == {"scaled_add": impl}
    assert_as_accurate(
        written,
        forward_backward(leaves, upstream, "reference"),
        forward_backward([leaf.double() for leaf in leaves], upstream, "reference"),
    )


@pytest.mark.parametrize("impl", ["triton", "cpu"])
def test_a_second_derivative_is_refused_by_name(impl: Impl) -> None:
    x = torch.ones(4, requires_grad=True)
    z = scaled_add(x, x, torch.ones(1), impl=impl)
    with pytest.raises(KernelError, match="scaled_add: its fused forms have no second derivative"):
        torch.autograd.grad(z.sum(), x, create_graph=True)


def test_auto_takes_the_form_for_the_cpu() -> None:
    scaled_add(torch.ones(4), torch.ones(4), torch.ones(1))
    assert chosen() == {"scaled_add": "cpu"}


@pytest.mark.slow
def test_the_kernels_compile_ahead_of_time() -> None:
    script = """
import json, sys, torch, aot
from factories import scaled_add as toy

x, scale, options = torch.ones(4096), torch.ones(1), {"size": 4096, "block": toy.BLOCK}
spilled = {}
for kernel in (toy.scaled_add_fwd_kernel, toy.scaled_add_bwd_kernel):
    tensors = [x, x, scale, x, x][: len(kernel.arg_names) - len(options)]
    names = dict(zip(kernel.arg_names, (*tensors, *options.values())))
    usage = aot.compile_launch("toy", aot.Launch(kernel, names, {}, 0), 90)
    spilled[usage.kernel] = usage.spilled_bytes
json.dump(spilled, sys.stdout)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT / "benchmarks", ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"scaled_add_fwd_kernel": 0, "scaled_add_bwd_kernel": 0}
