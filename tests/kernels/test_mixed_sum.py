from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.kernel_forms import HALVES, IMPLS, Check, device_for
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, mixed_sum
from sdedge.kernels.batch_norm import batch_statistics


def randn(
    *shape: int, device: torch.device, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device, dtype)


def gradients(inputs: list[Tensor], weights: Tensor, upstream: Tensor, impl: Impl) -> list[Tensor]:
    """[output, gradient of the weights, gradient of each input]."""
    leaves = [weights.detach().requires_grad_(), *(x.detach().requires_grad_() for x in inputs)]
    y = mixed_sum(leaves[1:], leaves[0], impl=impl)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream.to(y.dtype))]


def check_all(inputs: list[Tensor], weights: Tensor, check: Check) -> None:
    upstream = torch.randn(inputs[0].shape).to(inputs[0])
    fused = gradients(inputs, weights, upstream, "triton")
    assert chosen() == {"mixed_sum": "triton"}
    eager = gradients(inputs, weights, upstream, "reference")
    exact = gradients([x.double() for x in inputs], weights.double(), upstream, "reference")
    check(fused, eager, exact)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        pytest.param((), 3, id="scalars"),
        pytest.param((1,), 1, id="one element, one input"),
        pytest.param((2, 16, 8, 8), 8, id="whole blocks, one DARTS edge"),
        pytest.param((3, 5, 7, 11), 7, id="odd sizes, the last block is part full"),
        pytest.param((2, 3, 5, 5), 35, id="last node of a DARTS cell"),
        pytest.param((2, 3, 3), 129, id="more inputs than a launch takes pointers, no image"),
        pytest.param((0, 3, 4, 4), 2, id="empty batch"),
    ],
)
def test_values_and_gradients(
    shape: tuple[int, ...], count: int, device: torch.device, assert_as_accurate: Check
) -> None:
    inputs = [randn(*shape, device=device, seed=k) for k in range(count)]
    check_all(inputs, randn(count, device=device, seed=99), assert_as_accurate)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda x: x.contiguous(memory_format=torch.channels_last), id="channels-last"),
        pytest.param(lambda x: x.transpose(0, 3), id="transposed, dense"),
        pytest.param(lambda x: x[:, 1::2], id="every other channel, not dense"),
        pytest.param(lambda x: x[1:], id="storage offset that is not 16-byte aligned"),
        pytest.param(lambda x: x[:, :1].expand(-1, 4, -1, -1), id="expanded, shared memory"),
    ],
)
@pytest.mark.parametrize("mixed", [False, True], ids=["all", "all but the first"])
def test_strided_inputs(
    view: Callable[[Tensor], Tensor], mixed: bool, device: torch.device, assert_as_accurate: Check
) -> None:
    inputs = [view(randn(3, 4, 3, 5, device=device, seed=k)) for k in range(3)]
    if mixed:
        inputs[0] = inputs[0].clone(memory_format=torch.contiguous_format)
    check_all(inputs, randn(6, device=device)[::2], assert_as_accurate)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("weights_dtype", [None, torch.float32], ids=["same", "float32 weights"])
def test_half_inputs(
    dtype: torch.dtype,
    weights_dtype: torch.dtype | None,
    device: torch.device,
    assert_as_accurate: Check,
) -> None:
    inputs = [randn(2, 3, 5, 7, device=device, dtype=dtype, seed=k) for k in range(5)]
    check_all(inputs, randn(5, device=device, dtype=weights_dtype or dtype), assert_as_accurate)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_half_inputs_round_once(dtype: torch.dtype, impl: Impl, device: torch.device) -> None:
    inputs = [randn(50, device=device, dtype=dtype, seed=k) for k in range(42)]
    inputs.append(inputs[0])  # a second launch, that cancels most of what the first one passes on
    weights = randn(43, device=device)
    weights[0], weights[42] = 100, -100
    y = mixed_sum(inputs, weights, impl=impl)
    exact = mixed_sum([x.double() for x in inputs], weights.double())
    half_unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(y.double(), exact, rtol=half_unit, atol=1e-4)


def test_expanded_upstream_gradient(device: torch.device) -> None:
    x = randn(2, 3, 5, 7, device=device).requires_grad_()
    weights = torch.tensor([0.5], device=device, requires_grad=True)
    mixed_sum([x], weights, impl="triton").sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.5))
    torch.testing.assert_close(weights.grad, x.detach().sum()[None])


def test_layout_of_the_first_input_is_kept(device: torch.device) -> None:
    inputs = [randn(2, 4, 3, 5, device=device).to(memory_format=torch.channels_last)] * 2
    leaves = [x.detach().requires_grad_() for x in inputs]
    y = mixed_sum(leaves, randn(2, device=device), impl="triton")
    (grad,) = torch.autograd.grad(y, leaves[:1], torch.randn(y.shape, device=device))
    assert y.stride() == grad.stride() == inputs[0].stride()


class _Spy:
    """Keeps the arguments that a kernel is launched with."""

    launches = 0

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return self.launch

    def launch(self, *arguments: object, **options: object) -> None:
        self.arguments = arguments
        self.launches += 1


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[_Spy]]:
    """Replaces kernels of the mixed sum."""

    def replace(*names: str) -> list[_Spy]:
        spies = [_Spy() for _ in names]
        fused = import_module("sdedge.kernels.mixed_sum.fused")
        for name, spy in zip(names, spies, strict=True):
            monkeypatch.setattr(fused, f"mixed_sum_{name}_kernel", spy)
        return spies

    return replace


def saved_shapes(y: Tensor) -> list[torch.Size]:
    return [x.shape for x in y.grad_fn.saved_tensors if x is not None]


def test_network_step_keeps_no_input_and_writes_only_what_is_wanted(
    device: torch.device, spies: Callable[..., list[_Spy]]
) -> None:
    inputs = [randn(3, 5, device=device, seed=k) for k in range(3)]
    inputs[1].requires_grad_()
    weights = randn(3, device=device)
    y = mixed_sum(inputs, weights, impl="triton")
    assert saved_shapes(y) == [(3,), (3, 3, 1)], "no input"
    y.backward(torch.ones_like(y), retain_graph=True)
    torch.testing.assert_close(inputs[1].grad, weights[1].expand(3, 5))

    address, sums, coefficients, bwd = spies("address", "sums", "coefficients", "bwd")
    y.backward(torch.ones_like(y))
    pointers, none, _ = address.arguments
    assert [x is none for x in pointers] == [True, False, *7 * [True]], "one gradient, no input"
    assert (sums.launches, coefficients.launches, bwd.launches) == (0, 0, 1)


def raw_maps(
    count: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Channels-last maps off centre, each third one without statistics."""
    cpu = torch.device("cpu")
    maps = [
        (2 * randn(*shape, device=cpu, seed=k) + 0.5).to(dtype, memory_format=torch.channels_last)
        for k in range(count)
    ]
    return maps, [None if k % 3 == 2 else batch_statistics(z) for k, z in enumerate(maps)]


def normalised_gradients(
    maps: list[Tensor],
    statistics: list[Tensor | None],
    impl: Impl,
    dtype: torch.dtype | None = None,
    *,
    training: bool,
    alpha: bool = True,
    wanted: Callable[[int], bool] = lambda k: True,
) -> list[Tensor]:
    """[output, gradient of the weights if `alpha`, gradient of each wanted map]."""
    device = device_for(impl)
    zs = [z.to(device, dtype).detach().requires_grad_(wanted(k)) for k, z in enumerate(maps)]
    known = [None if s is None else s.to(device, dtype) for s in statistics]
    weights = torch.linspace(-1, 2, len(maps)).to(device, dtype).requires_grad_(alpha)
    upstream = randn(*maps[0].shape, device=device, seed=99).to(zs[0].dtype)
    y = mixed_sum(zs, weights, known, training=training, impl=impl)
    leaves = [x for x in (weights, *zs) if x.requires_grad]
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("shape", "count", "options"),
    [
        pytest.param((3, 8, 5, 7), 8, {}, id="one DARTS edge, odd sizes"),
        pytest.param((2, 20, 3, 5), 5, {}, id="channels that are no power of two"),
        pytest.param((2, 64, 3, 2), 4, {"alpha": False}, id="network step"),
        pytest.param((2, 8, 3, 5), 43, {"wanted": lambda k: k % 2 == 0}, id="some maps frozen"),
        pytest.param((2, 8, 3, 5), 3, {"wanted": lambda k: False}, id="weights alone"),
        pytest.param((2, 3, 40, 41), 3, {}, id="three blocks of sums"),
    ],
)
def test_statistics(
    shape: tuple[int, ...],
    count: int,
    options: dict[str, Any],
    training: bool,
    impl: Impl,
    assert_as_accurate: Check,
) -> None:
    maps, statistics = raw_maps(count, shape)
    fused = normalised_gradients(maps, statistics, impl, training=training, **options)
    assert chosen() == {"mixed_sum": impl}
    assert_as_accurate(
        fused,
        normalised_gradients(maps, statistics, "reference", training=training, **options),
        normalised_gradients(
            maps, statistics, "reference", torch.float64, training=training, **options
        ),
    )


@pytest.mark.parametrize("dtype", HALVES)
def test_statistics_of_half_maps(dtype: torch.dtype, assert_as_accurate: Check) -> None:
    maps, statistics = raw_maps(5, (2, 8, 3, 5), dtype)
    assert_as_accurate(
        normalised_gradients(maps, statistics, "triton", training=True),
        normalised_gradients(maps, statistics, "reference", training=True),
        normalised_gradients(maps, statistics, "reference", torch.float64, training=True),
    )


def test_statistics_are_sound_far_from_zero(assert_as_accurate: Check) -> None:
    maps = [z + 1000 for z in raw_maps(2, (3, 8, 5, 5))[0]]
    statistics = [batch_statistics(z) for z in maps]
    fused = normalised_gradients(maps, statistics, "triton", training=True)
    exact = normalised_gradients(maps, statistics, "reference", torch.float64, training=True)
    for a, b in zip(fused, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)


def test_statistics_keep_what_batch_norm_needs(
    device: torch.device, spies: Callable[..., list[_Spy]]
) -> None:
    maps, known = raw_maps(3, (2, 8, 3, 5))
    maps = [z.to(device).requires_grad_() for z in maps]
    statistics = [None if s is None else s.to(device) for s in known]
    weights = randn(3, device=device)
    y = mixed_sum(maps, weights, statistics, impl="triton")
    assert saved_shapes(y) == [(3,), (3, 3, 8), *2 * [maps[0].shape]], "not the third"
    assert y.is_contiguous(memory_format=torch.channels_last)
    constant = mixed_sum(maps, weights, statistics, training=False, impl="triton")
    assert saved_shapes(constant) == [(3,), (3, 3, 8)]

    address, sums, bwd = spies("address", "sums", "bwd")
    y.backward(torch.ones_like(y))
    pointers, none, _ = address.arguments
    assert [x is none for x in pointers] == [*5 * [False], True, False, False, True]
    assert (sums.launches, bwd.launches) == (1, 1)

    constant.backward(torch.ones_like(constant))
    assert (sums.launches, bwd.launches) == (1, 2)


def test_weights_alone_may_want_a_gradient(device: torch.device) -> None:
    inputs = [randn(3, 5, device=device, seed=k) for k in range(3)]
    weights = randn(3, device=device).requires_grad_()
    mixed_sum(inputs, weights, impl="triton").sum().backward()
    torch.testing.assert_close(weights.grad, torch.stack([x.sum() for x in inputs]))


def test_repeats_bit_for_bit(device: torch.device) -> None:
    inputs = [randn(4, 5, 16, 16, device=device, seed=k) for k in range(5)]
    weights, upstream = randn(5, device=device), randn(4, 5, 16, 16, device=device, seed=9)
    first = gradients(inputs, weights, upstream, "triton")
    again = gradients(inputs, weights, upstream, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_second_derivative_is_refused(device: torch.device) -> None:
    x = randn(4, device=device).requires_grad_()
    weights = randn(1, device=device).requires_grad_()
    y = mixed_sum([x], weights, impl="triton")
    with pytest.raises(KernelError, match=r"mixed_sum: .*no second derivative.*'reference'"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_reference_gradients_are_exact() -> None:
    inputs = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)
    call = lambda w, *xs: mixed_sum(xs, w)  # noqa: E731
    assert torch.autograd.gradcheck(call, (weights, *inputs))
    assert torch.autograd.gradgradcheck(call, (weights, *inputs))


@pytest.mark.parametrize(
    ("inputs", "weights", "message"),
    [
        ([], torch.ones(0), "inputs is empty"),
        ([torch.ones(2), torch.ones(3)], torch.ones(2), r"inputs\[1\] is \(3,\).*is \(2,\)"),
        ([torch.ones(2), torch.ones(2).half()], torch.ones(2), r"inputs\[1\].*float16"),
        ([torch.ones(2), torch.ones(2, device="meta")], torch.ones(2), r"inputs\[1\].*on meta"),
        ([torch.ones(2, dtype=torch.int32)], torch.ones(1), "inputs are torch.int32"),
        ([torch.ones(2)], torch.ones(2), r"weights is \(2,\).*1 inputs need shape \(1,\)"),
        ([torch.ones(2)], torch.ones(1, 1), r"weights is \(1, 1\)"),
        ([torch.ones(2)], torch.ones(1).long(), "weights is .*int64.*give a floating dtype"),
        ([torch.ones(2)], torch.ones(1, device="meta"), "weights is .*on meta"),
    ],
)
def test_bad_arguments(inputs: list[Tensor], weights: Tensor, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        mixed_sum(inputs, weights)


@pytest.mark.parametrize(
    ("shape", "statistics", "message"),
    [
        ((2, 3, 4, 4), [None], "1 statistics for 2 inputs of 4 dimensions"),
        ((2, 3), [None, None], "2 statistics for 2 inputs of 2 dimensions"),
        ((2, 3, 4, 4), [None, torch.ones(2, 4)], r"statistics\[1\] is \(2, 4\).*need \(2, 3\)"),
        ((2, 3, 4, 4), [torch.ones(2, 3, device="meta"), None], r"statistics\[0\] .*on meta"),
    ],
)
def test_bad_statistics(
    shape: tuple[int, ...], statistics: list[Tensor | None], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        mixed_sum([torch.ones(shape)] * 2, torch.ones(2), statistics)
