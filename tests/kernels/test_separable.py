from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.kernel_forms import HALVES, IMPLS, Check, device_for
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, separable
from sdedge.kernels.batch_norm import batch_statistics


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class Problem:
    """Branches on seeded tensors; `results` computes everything with one implementation."""

    def __init__(
        self,
        shape: tuple[int, ...] = (3, 8, 5, 7),
        branches: int = 1,
        sources: int = 1,
        out_channels: int | None = None,
        size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        statistics: bool = False,
        training: bool = True,
        frozen: str = "",
        view: Callable[[Tensor], Tensor] = lambda x: x.to(memory_format=torch.channels_last),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        c = shape[1]
        self.sources = [view(2 * randn(*shape, seed=s) + 0.5).to(dtype) for s in range(sources)]
        c = self.sources[0].shape[1]
        out = out_channels or c
        self.depthwise = [randn(c, 1, size, size, seed=9 + e) / size for e in range(branches)]
        self.pointwise = [randn(out, c, 1, 1, seed=19 + e) / c**0.5 for e in range(branches)]
        self.statistics = [batch_statistics(x) for x in self.sources] if statistics else None
        self.options = {"stride": stride, "dilation": dilation, "training": training}
        self.frozen = frozen

    def leaves(self, impl: Impl, dtype: torch.dtype | None = None) -> dict[str, list[Tensor]]:
        return {
            name: [
                x.to(device_for(impl), dtype).detach().requires_grad_(name not in self.frozen)
                for x in getattr(self, name)
            ]
            for name in ("sources", "depthwise", "pointwise")
        }

    def run(self, leaves: dict[str, list[Tensor]], impl: Impl) -> tuple[list[Tensor], list[Tensor]]:
        known = None
        if self.statistics is not None:
            known = [s.to(leaves["sources"][0].device) for s in self.statistics]
            if leaves["sources"][0].dtype == torch.float64:
                known = [s.double() for s in known]
        return separable(*leaves.values(), known, impl=impl, **self.options)

    def results(self, impl: Impl, dtype: torch.dtype | None = None) -> list[Tensor]:
        """[outputs, statistics, gradients of sources, of depthwise, of pointwise], each stacked."""
        leaves = self.leaves(impl, dtype)
        outputs, statistics = self.run(leaves, impl)
        assert len(statistics) == self.options["training"] * len(outputs)
        assert not any(s.requires_grad for s in statistics)
        wanted = [x for xs in leaves.values() for x in xs if x.requires_grad]
        upstream = [randn(*z.shape, seed=29 + e).to(z) for e, z in enumerate(outputs)]
        gradients = iter(torch.autograd.grad(outputs, wanted, upstream))
        kinds = [[next(gradients) for _ in xs if xs[0].requires_grad] for xs in leaves.values()]
        everything = [[z.detach() for z in outputs], statistics, *kinds]
        return [torch.stack(xs) for xs in everything if xs]


def check_all(problem: Problem, impl: Impl, check: Check) -> None:
    fused = problem.results(impl)
    assert chosen() == {"separable": impl}
    check(fused, problem.results("reference"), problem.results("reference", torch.float64))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"shape": (2, 16, 8, 8)}, id="whole blocks"),
        pytest.param({"branches": 4, "size": 5}, id="four branches of one source"),
        pytest.param({"branches": 3, "sources": 3}, id="three sources"),
        pytest.param({"stride": 2, "branches": 2}, id="stride 2"),
        pytest.param({"stride": 2, "shape": (1, 8, 6, 4), "size": 5}, id="stride 2, even sizes"),
        pytest.param({"dilation": 2, "size": 5}, id="dilation 2"),
        pytest.param({"dilation": 2, "stride": 2, "branches": 2, "sources": 2}, id="both"),
        pytest.param({"dilation": 2, "size": 7, "shape": (1, 4, 3, 2)}, id="more kernel than map"),
        pytest.param({"shape": (3, 20, 3, 5), "out_channels": 8}, id="fewer channels leave"),
        pytest.param({"shape": (1, 3, 5, 3), "out_channels": 20}, id="more channels leave"),
        pytest.param({"shape": (2, 40, 3, 3), "branches": 2}, id="chunks of channels"),
        pytest.param({"size": 1, "shape": (5, 8, 1, 1)}, id="one pixel"),
        pytest.param({"shape": (5, 8, 9, 11)}, id="several programs, the last part full"),
    ],
)
def test_values_and_gradients(
    settings: dict[str, Any], impl: Impl, assert_as_accurate: Check
) -> None:
    check_all(Problem(**settings), impl, assert_as_accurate)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="one branch"),
        pytest.param({"branches": 3, "size": 5}, id="one source"),
        pytest.param({"branches": 2, "sources": 2, "stride": 2, "dilation": 2}, id="two sources"),
        pytest.param({"shape": (2, 20, 5, 9), "branches": 2, "sources": 2}, id="part full"),
    ],
)
def test_normalised_sources(
    settings: dict[str, Any], training: bool, impl: Impl, assert_as_accurate: Check
) -> None:
    problem = Problem(**settings, statistics=True, training=training)
    check_all(problem, impl, assert_as_accurate)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda x: x, id="contiguous"),
        pytest.param(lambda x: x[:, ::2], id="every other channel, not dense"),
        pytest.param(lambda x: x.transpose(2, 3), id="transposed"),
        pytest.param(lambda x: x[:, :1].expand(-1, 4, -1, -1), id="expanded, shared memory"),
    ],
)
def test_strided_sources(
    view: Callable[[Tensor], Tensor], impl: Impl, assert_as_accurate: Check
) -> None:
    check_all(Problem(branches=2, sources=2, view=view), impl, assert_as_accurate)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("statistics", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize(
    "frozen", ["depthwise pointwise", "sources", "depthwise", "sources depthwise"]
)
def test_only_what_is_wanted_gets_a_gradient(
    frozen: str, statistics: bool, impl: Impl, assert_as_accurate: Check
) -> None:
    problem = Problem(branches=2, statistics=statistics, frozen=frozen)
    check_all(problem, impl, assert_as_accurate)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("statistics", [False, True], ids=["raw", "normalised"])
def test_half_sources(dtype: torch.dtype, statistics: bool, assert_as_accurate: Check) -> None:
    problem = Problem(branches=2, statistics=statistics, dtype=dtype)
    fused, eager = problem.results("triton"), problem.results("reference")
    assert [x.dtype for x in fused] == [dtype, torch.float32, dtype, *2 * [torch.float32]]
    assert_as_accurate(fused, eager, problem.results("reference", torch.float64))


@pytest.mark.parametrize("impl", IMPLS)
def test_one_frozen_kernel_of_two(impl: Impl) -> None:
    problem = Problem(branches=2)
    leaves, reference = problem.leaves(impl), problem.leaves("reference")
    for xs, route in ((leaves, impl), (reference, "reference")):
        xs["depthwise"][0].requires_grad_(False)
        torch.stack(problem.run(xs, route)[0]).sum().backward()
    assert leaves["depthwise"][0].grad is None
    torch.testing.assert_close(
        leaves["depthwise"][1].grad, reference["depthwise"][1].grad.to(device_for(impl))
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_one_output_of_two_is_used(impl: Impl) -> None:
    problem = Problem(branches=2)
    leaves, reference = problem.leaves(impl), problem.leaves("reference")
    for xs, route in ((leaves, impl), (reference, "reference")):
        problem.run(xs, route)[0][1].square().sum().backward()
    for name in leaves:
        for a, b in zip(leaves[name], reference[name], strict=True):
            expected = torch.zeros_like(b) if b.grad is None else b.grad
            given = torch.zeros_like(a) if a.grad is None else a.grad
            torch.testing.assert_close(given.cpu(), expected.cpu())


@pytest.mark.parametrize("impl", IMPLS)
def test_statistics_are_sound_far_from_zero(impl: Impl) -> None:
    device = device_for(impl)
    x = (randn(9, 8, 8, 8, seed=0) + 1000).to(device, memory_format=torch.channels_last)
    depthwise = torch.zeros(8, 1, 3, 3, device=device)
    depthwise[:, :, 1, 1] = 1
    pointwise = torch.eye(8, device=device)[:, :, None, None]
    _, (fused,) = separable([x], [depthwise], [pointwise], impl=impl)
    exact = batch_statistics(x.double())
    torch.testing.assert_close(fused.double(), exact, rtol=1e-4, atol=1e-4)


def test_saves_the_inputs_and_returns_channels_last() -> None:
    problem = Problem(branches=2, view=lambda x: x)
    leaves = problem.leaves("triton")
    outputs, _ = problem.run(leaves, "triton")
    assert all(z.is_contiguous(memory_format=torch.channels_last) for z in outputs)
    kept = [x.shape for x in outputs[0].grad_fn.saved_tensors if x is not None]
    assert kept == [(2, 9, 8), (2, 8, 8), (3, 8, 5, 7)]


@pytest.mark.parametrize("impl", IMPLS)
def test_repeats_bit_for_bit(impl: Impl) -> None:
    problem = Problem(shape=(3, 8, 7, 7), branches=2, sources=2, statistics=True)
    again = zip(problem.results(impl), problem.results(impl), strict=True)
    assert all(torch.equal(a, b) for a, b in again)


@pytest.mark.parametrize("impl", IMPLS)
def test_second_derivative_is_refused(impl: Impl) -> None:
    problem = Problem()
    leaves = problem.leaves(impl)
    (z,), _ = problem.run(leaves, impl)
    with pytest.raises(KernelError, match=r"separable: .*no second derivative.*'reference'"):
        torch.autograd.grad(z.sum(), leaves["sources"], create_graph=True)


def test_reference_gradients_are_exact() -> None:
    problem = Problem(shape=(2, 2, 3, 3), branches=2, sources=2, statistics=True)
    leaves = problem.leaves("reference", torch.float64)

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        parts = {name: list(tensors[2 * i : 2 * i + 2]) for i, name in enumerate(leaves)}
        return tuple(problem.run(parts, "reference")[0])

    assert torch.autograd.gradcheck(call, [x for xs in leaves.values() for x in xs])


ONE, DEPTHWISE, POINTWISE = torch.ones(1, 4, 5, 5), torch.ones(4, 1, 3, 3), torch.ones(6, 4, 1, 1)


@pytest.mark.parametrize(
    ("inputs", "depthwise", "pointwise", "options", "message"),
    [
        ([ONE], [], [], {}, "1 inputs, 0 depthwise and 0 pointwise kernels"),
        ([ONE], [DEPTHWISE], [POINTWISE] * 2, {}, "1 depthwise and 2 pointwise kernels"),
        ([ONE] * 2, [DEPTHWISE] * 3, [POINTWISE] * 3, {}, "2 inputs, 3 depthwise"),
        ([ONE[0]], [DEPTHWISE], [POINTWISE], {}, r"an input is \(4, 5, 5\)"),
        ([ONE, ONE.half()], [DEPTHWISE] * 2, [POINTWISE] * 2, {}, "float16.*the first .*float32"),
        ([ONE], [torch.ones(4, 1, 2, 2)], [POINTWISE], {}, r"kernels are \(4, 1, 2, 2\)"),
        ([ONE], [torch.ones(3, 1, 3, 3)], [POINTWISE], {}, "for inputs of 4 channels"),
        ([ONE], [DEPTHWISE], [torch.ones(6, 3, 1, 1)], {}, r"and \(6, 3, 1, 1\)"),
        ([ONE], [DEPTHWISE], [POINTWISE], {"stride": 3}, "stride is 3"),
        ([ONE], [DEPTHWISE], [POINTWISE], {"statistics": []}, r"statistics are \[\]"),
    ],
)
def test_bad_arguments(
    inputs: list[Tensor],
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(KernelError, match=message):
        separable(inputs, depthwise, pointwise, **options)
