"""The masked mean squared error as one Triton pass forward and one backward.

Both read the masked pixels of prediction and target and the (N, L) mask; a mask of image size
never exists. Each program of the forward pass writes two partial sums, which torch adds up: there
are no atomics, so equal inputs give equal bits. The backward pass reads the upstream gradient and
the number of masked values on the device.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative


@triton.jit
def masked_mse_weights(
    p_mask: tl.tensor,  # (L,) fp32, of one image
    o_i: tl.tensor,  # (block,) flat offsets into the image
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
) -> tl.tensor:
    """The mask, 0 or 1, of the pixels at flat offsets into one image."""
    o_row = o_i // row_stride % height // patch
    o_column = o_i // column_stride % width // patch
    return tl.load(p_mask + o_row * (width // patch) + o_column, mask=o_i < size, other=0.0)


@triton.jit
def masked_mse_fwd_kernel(
    p_x: tl.tensor,  # (N, size) prediction
    p_t: tl.tensor,  # (N, size) target
    p_mask: tl.tensor,  # (N, L) fp32
    p_partial: tl.tensor,  # (2, programs) fp32: squared error, number of masked values
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
    blocks: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write the squared error of the masked pixels of one block, and their number."""
    i_program = tl.program_id(0)
    i_n = (i_program // blocks).to(tl.int64)
    o_i = i_program % blocks * block + tl.arange(0, block)
    p_m = p_mask + i_n * ((height // patch) * (width // patch))
    b_m = masked_mse_weights(p_m, o_i, size, height, width, row_stride, column_stride, patch)
    b_x = tl.load(p_x + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_t = tl.load(p_t + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    tl.store(p_partial + i_program, tl.sum(b_m * (b_x - b_t) * (b_x - b_t)))
    tl.store(p_partial + tl.num_programs(0) + i_program, tl.sum(b_m))


@triton.jit
def masked_mse_bwd_kernel(
    p_x: tl.tensor,  # (N, size) prediction
    p_t: tl.tensor,  # (N, size) target
    p_mask: tl.tensor,  # (N, L) fp32
    p_g: tl.tensor,  # () upstream gradient
    p_count: tl.tensor,  # () fp32, number of masked values, at least 1
    p_gx: tl.tensor,  # (N, size), or None if no gradient is wanted
    p_gt: tl.tensor,  # (N, size), or None if no gradient is wanted
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
    blocks: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write one block of the gradients: zero outside the mask."""
    i_program = tl.program_id(0)
    i_n = (i_program // blocks).to(tl.int64)
    o_i = i_program % blocks * block + tl.arange(0, block)
    p_m = p_mask + i_n * ((height // patch) * (width // patch))
    b_m = masked_mse_weights(p_m, o_i, size, height, width, row_stride, column_stride, patch)
    b_x = tl.load(p_x + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_t = tl.load(p_t + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_gx = b_m * (b_x - b_t) * (2.0 * tl.load(p_g) / tl.load(p_count))
    if p_gx is not None:
        tl.store(p_gx + i_n * size + o_i, b_gx.to(p_gx.dtype.element_ty), mask=o_i < size)
    if p_gt is not None:
        tl.store(p_gt + i_n * size + o_i, (-b_gx).to(p_gt.dtype.element_ty), mask=o_i < size)


def launch_config(
    shape: torch.Size, channels_last: bool, patch_size: int
) -> tuple[int, dict[str, int]]:
    """Return (programs, options); compile-time sizes turn the divisions into products."""
    n, c, height, width = shape
    size = c * height * width
    block = min(1024, triton.next_power_of_2(size))
    blocks = triton.cdiv(size, block)
    column_stride = c if channels_last else 1
    return n * blocks, {
        "size": size,
        "height": height,
        "width": width,
        "row_stride": column_stride * width,
        "column_stride": column_stride,
        "patch": patch_size,
        "blocks": blocks,
        "block": block,
        **LAUNCH_OPTIONS,
    }


def masked_mse_fused(
    prediction: Tensor,  # (N, C, H, W)
    target: Tensor,  # (N, C, H, W)
    mask: Tensor,  # (N, L)
    patch_size: int,
) -> Tensor:
    """See `sdedge.kernels.masked_mse.masked_mse`."""
    with torch.cuda.device(prediction.get_device()):  # triton launches on the current device
        loss: Tensor = _MaskedMSE.apply(prediction, target, mask, patch_size)
    return loss


class _MaskedMSE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int
    ) -> Tensor:
        channels_last = prediction.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x = prediction.contiguous(memory_format=layout)
        t = target.contiguous(memory_format=layout)
        weights = mask.to(torch.float32).contiguous()
        programs, options = launch_config(x.shape, channels_last, patch_size)
        partial = torch.empty(2, programs, dtype=torch.float32, device=x.device)
        masked_mse_fwd_kernel[(programs,)](x, t, weights, partial, **options)
        total, count = partial.sum(1).unbind()
        count = count.clamp(min=1)
        ctx.launch = programs, options
        ctx.save_for_backward(x, t, weights, count)
        return total / count

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        refuse_second_derivative("masked_mse")
        x, t, weights, count = ctx.saved_tensors
        programs, options = ctx.launch
        gx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gt = torch.empty_like(t) if ctx.needs_input_grad[1] else None
        masked_mse_bwd_kernel[(programs,)](x, t, weights, g, count, gx, gt, **options)
        return gx, gt, None, None
