from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, masked_mse

Check = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]

HALVES = [
    torch.float16,
    pytest.param(  # the interpreter truncates bfloat16 where hardware rounds
        torch.bfloat16, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    ),
]


def images(
    *shape: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pair = torch.randn(2, *shape, generator=generator).to(device, dtype)
    return pair[0], pair[1]


def random_mask(shape: torch.Size, patch_size: int) -> Tensor:
    patches = (shape[2] // patch_size) * (shape[3] // patch_size)
    mask = torch.rand(shape[0], patches, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[:1, :1] = True
    return mask


def gradients(
    prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int, impl: Impl
) -> list[Tensor]:
    """[loss, gradient of the prediction, gradient of the target] for an upstream of -1.7."""
    leaves = [prediction.detach().requires_grad_(), target.detach().requires_grad_()]
    loss = masked_mse(leaves[0], leaves[1], mask, patch_size, impl)
    return [loss.detach(), *torch.autograd.grad(loss, leaves, torch.full_like(loss, -1.7))]


def check_all(
    prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int, check: Check
) -> None:
    fused = gradients(prediction, target, mask, patch_size, "triton")
    assert chosen() == {"masked_mse": "triton"}
    eager = gradients(prediction, target, mask, patch_size, "reference")
    exact = gradients(prediction.double(), target.double(), mask, patch_size, "reference")
    check(fused, eager, exact)


@pytest.mark.parametrize(
    ("shape", "patch_size"),
    [
        pytest.param((2, 3, 32, 32), 8, id="CIFAR, three blocks an image"),
        pytest.param((1, 1, 4, 4), 4, id="one patch"),
        pytest.param((3, 2, 6, 10), 2, id="more columns than rows"),
        pytest.param((2, 3, 3, 2), 1, id="every pixel a patch"),
        pytest.param((2, 5, 21, 35), 7, id="odd sizes, the last block is part full"),
        pytest.param((0, 3, 4, 4), 2, id="empty batch"),
    ],
)
@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float32])
def test_values_and_gradients(
    shape: tuple[int, ...],
    patch_size: int,
    mask_dtype: torch.dtype,
    device: torch.device,
    assert_as_accurate: Check,
) -> None:
    prediction, target = images(*shape, device=device)
    mask = random_mask(prediction.shape, patch_size).to(device, mask_dtype)
    check_all(prediction, target, mask, patch_size, assert_as_accurate)


def test_agrees_with_a_mask_of_image_size(device: torch.device) -> None:
    prediction, target = images(3, 2, 6, 10, device=device)
    mask = random_mask(prediction.shape, 2).to(device)
    pixels = mask.view(3, 1, 3, 5).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = (prediction - target)[pixels.expand_as(prediction)].square().mean()
    for impl in ("reference", "triton"):
        torch.testing.assert_close(masked_mse(prediction, target, mask, 2, impl), expected)


@pytest.mark.parametrize("which", ["both", "prediction", "target"])
@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda x: x.contiguous(memory_format=torch.channels_last), id="channels-last"),
        pytest.param(lambda x: x.transpose(2, 3), id="transposed"),
        pytest.param(lambda x: x[:, ::2, :, 1:], id="sliced, not dense"),
        pytest.param(lambda x: x[:, :1].expand(-1, 3, -1, -1), id="expanded"),
    ],
)
def test_strided_images(
    which: str,
    view: Callable[[Tensor], Tensor],
    device: torch.device,
    assert_as_accurate: Check,
) -> None:
    prediction, target = (view(x) for x in images(2, 3, 9, 9, device=device))
    if which == "target":
        prediction = prediction.contiguous()
    if which == "prediction":
        target = target.contiguous()
    patch_size = 3 if prediction.shape[3] == 9 else 1
    mask = random_mask(prediction.shape, patch_size).to(device)
    check_all(prediction, target, mask.T.contiguous().T, patch_size, assert_as_accurate)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("target_dtype", [None, torch.float32], ids=["same", "float32 target"])
def test_half_images_give_a_float32_loss(
    dtype: torch.dtype,
    target_dtype: torch.dtype | None,
    device: torch.device,
    assert_as_accurate: Check,
) -> None:
    prediction, target = images(2, 3, 8, 8, device=device, dtype=dtype)
    mask = random_mask(prediction.shape, 4).to(device)
    assert masked_mse(prediction, target, mask, 4, "triton").dtype == torch.float32
    check_all(prediction, target.to(target_dtype or dtype), mask, 4, assert_as_accurate)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_full_and_empty_masks(impl: Impl, device: torch.device) -> None:
    prediction, target = images(2, 3, 8, 8, device=device)
    ones = torch.ones(2, 4, device=device)
    loss, grad, _ = gradients(prediction, target, ones, 4, impl)
    torch.testing.assert_close(loss, mse_loss(prediction, target))
    torch.testing.assert_close(grad, -1.7 * 2 * (prediction - target) / prediction.numel())
    loss, grad, _ = gradients(prediction, target, torch.zeros_like(ones).bool(), 4, impl)
    assert loss == 0
    assert not grad.any()


def test_reads_only_masked_pixels(device: torch.device) -> None:
    prediction, target = images(1, 1, 2, 4, device=device)
    prediction[..., 2:], target[..., 2:] = torch.nan, torch.inf
    mask = torch.tensor([[True, False]], device=device)
    loss, grad, _ = gradients(prediction, target, mask, 2, "triton")
    torch.testing.assert_close(loss, mse_loss(prediction[..., :2], target[..., :2]))
    assert grad[..., :2].all()
    assert not grad[..., 2:].any()


def test_target_gets_a_gradient_only_if_it_wants_one(device: torch.device) -> None:
    prediction, target = images(1, 1, 4, 4, device=device)
    mask = torch.ones(1, 4, device=device)
    masked_mse(prediction.requires_grad_(), target, mask, 2, "triton").backward()
    assert target.grad is None
    masked_mse(prediction.detach(), target.requires_grad_(), mask, 2, "triton").backward()
    torch.testing.assert_close(target.grad, -prediction.grad)


class _Recorded(TorchDispatchMode):
    """Lists the operations that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_nothing_waits_for_the_device(impl: Impl, device: torch.device) -> None:
    prediction, target = images(1, 1, 4, 4, device=device)
    with _Recorded() as recorded:
        masked_mse(
            prediction.requires_grad_(), target, torch.ones(1, 4, device=device).bool(), 2, impl
        ).backward()
    assert "sum" in recorded.names
    assert not recorded.names & {"_local_scalar_dense", "nonzero", "masked_select", "equal"}


def test_repeats_bit_for_bit(device: torch.device) -> None:
    prediction, target = images(2, 3, 32, 32, device=device)
    mask = random_mask(prediction.shape, 8).to(device)
    first = gradients(prediction, target, mask, 8, "triton")
    again = gradients(prediction, target, mask, 8, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_second_derivative_is_refused(device: torch.device) -> None:
    prediction, target = images(1, 1, 2, 2, device=device)
    mask = torch.ones(1, 1, device=device)
    loss = masked_mse(prediction.requires_grad_(), target, mask, 2, "triton")
    with pytest.raises(KernelError, match=r"masked_mse: .*no second derivative.*'reference'"):
        torch.autograd.grad(loss, prediction, create_graph=True)


def test_reference_gradients_are_exact() -> None:
    prediction, target = images(2, 2, 4, 6, device=torch.device("cpu"), dtype=torch.float64)
    mask = random_mask(prediction.shape, 2)
    leaves = (prediction.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, t: masked_mse(x, t, mask, 2), leaves)


IMAGE, MASK = torch.ones(2, 3, 8, 12), torch.ones(2, 6)


@pytest.mark.parametrize(
    ("prediction", "target", "mask", "patch_size", "message"),
    [
        (IMAGE[0], IMAGE[0], MASK, 4, r"prediction is \(3, 8, 12\)"),
        (IMAGE, IMAGE[:, :1], MASK, 4, r"target \(2, 1, 8, 12\)"),
        (IMAGE[:, :0], IMAGE[:, :0], MASK, 4, "only N may be 0"),
        (IMAGE, IMAGE, MASK, 5, "patch_size=5 does not divide images of 8 x 12"),
        (IMAGE, IMAGE, MASK, 8, "patch_size=8 does not divide"),
        (IMAGE, IMAGE, MASK, 0, "patch_size=0 does not divide"),
        (IMAGE, IMAGE, MASK[:, :5], 4, r"mask is \(2, 5\).*needs \(2, 6\)"),
        (IMAGE, IMAGE, MASK.int(), 4, "mask is torch.int32"),
        (IMAGE, IMAGE, MASK.clone().requires_grad_(), 4, "requires_grad=True"),
        (IMAGE.int(), IMAGE, MASK, 4, "prediction is torch.int32"),
        (IMAGE, IMAGE, MASK.to("meta"), 4, "mask on meta"),
    ],
)
def test_bad_arguments(
    prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int, message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        masked_mse(prediction, target, mask, patch_size)
