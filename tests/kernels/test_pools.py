import pytest
import torch
from torch import Tensor

from factories.kernel_forms import HALVES, IMPLS, Check, device_for
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, pools


def results(
    x: Tensor,
    impl: Impl,
    *,
    stride: int = 1,
    training: bool = True,
    which: tuple[int, ...] = (0, 1),
) -> list[Tensor]:
    """[gradient, maximum, average, *statistics], the gradient through the outputs `which`."""
    leaf = x.to(device_for(impl)).detach().requires_grad_()
    outputs, statistics = pools(leaf, stride=stride, training=training, impl=impl)
    assert len(statistics) == 2 * training
    assert not any(s.requires_grad for s in statistics)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
    (grad,) = torch.autograd.grad([outputs[i] for i in which], leaf, [upstream[i] for i in which])
    return [*(y.detach() for y in outputs), *statistics, grad]


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (x + 0.5).to(dtype, memory_format=torch.channels_last)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "x",
    [
        pytest.param(maps(2, 16, 8, 8), id="whole blocks"),
        pytest.param(maps(3, 8, 5, 7), id="odd sizes"),
        pytest.param(maps(1, 20, 6, 3), id="channels that are no power of two"),
        pytest.param(maps(2, 3, 9, 8).contiguous(), id="not channels-last"),
        pytest.param(maps(2, 6, 7, 4)[:, ::2], id="not dense"),
        pytest.param(maps(5, 4, 1, 1), id="one pixel"),
        pytest.param(maps(1, 40, 2, 1), id="two chunks of channels, one column"),
    ],
)
def test_values_and_gradients(
    x: Tensor, training: bool, stride: int, impl: Impl, assert_as_accurate: Check
) -> None:
    fused = results(x, impl, stride=stride, training=training)
    assert chosen() == {"pools": impl}
    assert_as_accurate(
        fused,
        results(x, "reference", stride=stride, training=training),
        results(x.double(), "reference", stride=stride, training=training),
    )


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("which", [(0,), (1,)], ids=["maximum", "average"])
def test_one_output_is_used(which: tuple[int, ...], impl: Impl, assert_as_accurate: Check) -> None:
    x = maps(2, 8, 5, 4)
    assert_as_accurate(
        results(x, impl, which=which),
        results(x, "reference", which=which),
        results(x.double(), "reference", which=which),
    )


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("stride", [1, 2])
def test_ties_go_to_the_first_pixel(stride: int, impl: Impl) -> None:
    x = maps(3, 8, 7, 6).round()
    *_, fused = results(x, impl, stride=stride, which=(0,))
    *_, eager = results(x, "reference", stride=stride, which=(0,))
    torch.testing.assert_close(fused, eager.to(fused.device))


@pytest.mark.parametrize("impl", IMPLS)
def test_nan_goes_on(impl: Impl) -> None:
    x = maps(1, 2, 5, 5)
    x[0, 1, 2, 2] = torch.nan
    for pooled in results(x, impl)[:2]:
        assert pooled[0, 1, 1:4, 1:4].isnan().all()
        assert pooled.isnan().sum() == 9


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("stride", [1, 2])
def test_half_maps(dtype: torch.dtype, stride: int, assert_as_accurate: Check) -> None:
    x = maps(2, 8, 5, 7, dtype=dtype)
    assert_as_accurate(
        results(x, "triton", stride=stride),
        results(x, "reference", stride=stride),
        results(x.double(), "reference", stride=stride),
    )


def test_statistics_are_sound_far_from_zero() -> None:
    x = maps(9, 8, 16, 16) + 1000  # several programs
    for fused, exact in zip(
        pools(x.to(device_for("triton")), impl="triton")[1],
        pools(x.double(), impl="reference")[1],
        strict=True,
    ):
        torch.testing.assert_close(fused.cpu().double(), exact, rtol=1e-4, atol=1e-4)


def test_outputs_are_channels_last(device: torch.device) -> None:
    for y in pools(maps(2, 8, 5, 4).contiguous().to(device), impl="triton")[0]:
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_keeps_one_byte_a_value_where_a_gradient_is_wanted(device: torch.device) -> None:
    x = maps(2, 8, 5, 4).to(device).requires_grad_()
    (maximum, _), _ = pools(x, impl="triton")
    (kept,) = maximum.grad_fn.saved_tensors
    assert (kept.numel(), kept.element_size()) == (x.numel(), 1)
    assert not pools(x.detach(), impl="triton")[0][0].requires_grad


def test_repeats_bit_for_bit() -> None:
    x = maps(5, 8, 9, 9)
    again = zip(results(x, "triton"), results(x, "triton"), strict=True)
    assert all(torch.equal(a, b) for a, b in again)


def test_second_derivative_is_refused(device: torch.device) -> None:
    x = maps(1, 4, 3, 3).to(device).requires_grad_()
    (maximum, _), _ = pools(x, impl="triton")
    with pytest.raises(KernelError, match=r"pools: .*no second derivative.*'reference'"):
        torch.autograd.grad(maximum.sum(), x, create_graph=True)


@pytest.mark.parametrize(
    ("x", "stride", "message"),
    [
        (torch.ones(3, 4, 4), 1, r"x is \(3, 4, 4\).*give a floating \(N, C, H, W\)"),
        (torch.ones(1, 3, 4, 4), 3, "the stride 3; .*1 or 2"),
    ],
)
def test_bad_arguments(x: Tensor, stride: int, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        pools(x, stride=stride)
