"""The masked mean squared error as one Triton pass forward and one backward.

Each program of the forward pass writes two partial sums, which torch adds up. The backward pass
reads the upstream gradient and the number of masked values on the device.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.masked_mse.kernels import masked_mse_bwd_kernel, masked_mse_fwd_kernel


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
