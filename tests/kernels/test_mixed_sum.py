from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, mixed_sum

Check = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]

HALVES = [
    torch.float16,
    pytest.param(  # the interpreter truncates bfloat16 where hardware rounds
        torch.bfloat16, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    ),
]


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
        pytest.param((2, 3, 5, 5), 40, id="as many inputs as one launch takes"),
        pytest.param((2, 3, 5, 5), 41, id="one input more than a launch takes"),
        pytest.param((2, 3, 3), 83, id="three launches, no image shape"),
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

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return self.launch

    def launch(self, *arguments: object, **options: object) -> None:
        self.arguments = arguments


def test_network_step_keeps_no_input_and_writes_only_what_is_wanted(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [randn(3, 5, device=device, seed=k) for k in range(3)]
    inputs[1].requires_grad_()
    weights = randn(3, device=device)
    y = mixed_sum(inputs, weights, impl="triton")
    assert len(y.grad_fn.saved_tensors) == 1, "the weights alone"
    y.backward(torch.ones_like(y), retain_graph=True)
    torch.testing.assert_close(inputs[1].grad, weights[1].expand(3, 5))

    spy = _Spy()
    fused = import_module("sdedge.kernels.mixed_sum.fused")
    monkeypatch.setattr(fused, "mixed_sum_bwd_kernel", spy)
    y.backward(torch.ones_like(y))
    _, xs, _, gxs, partial, _ = spy.arguments
    assert xs == ()
    assert [gx is None for gx in gxs] == [True, False, True]
    assert partial is None


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
