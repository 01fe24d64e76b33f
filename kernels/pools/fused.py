"""Both pools as one Triton kernel forward and one backward.

Forward reads each 3x3 window once and writes maximum, average and their statistics, and for the
backward pass which pixel of its window each maximum was, in one byte. Backward, each pixel gathers
from the windows that hold it.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.fused import merge_moments
from sdedge.kernels.pools.kernels import pools_bwd_kernel, pools_fwd_kernel


def launch_config(
    pixels: int, shape: torch.Size, stride: int
) -> tuple[tuple[int, int], dict[str, int]]:
    """Return ((runs of pixels, chunks of channels), options): eight elements a thread."""
    _, channels, height, width = shape
    block_c = min(32, triton.next_power_of_2(channels))
    block_p = 1024 // block_c
    sizes = {"height": height, "width": width, "channels": channels, "stride": stride}
    options = {**sizes, "block_p": block_p, "block_c": block_c, "num_warps": 4}
    grid = triton.cdiv(pixels, block_p), triton.cdiv(channels, block_c)
    return grid, {**options, **LAUNCH_OPTIONS}


def pools_fused(x: Tensor, stride: int, training: bool) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.pools.pools`."""
    with torch.cuda.device(x.get_device()):  # triton launches on the current device
        *outputs, statistics = _Pools.apply(x, stride, training)
    return outputs, [] if statistics is None else list(statistics.unbind())


class _Pools(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, stride: int, training: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = x.shape
        size = (n, -(-height // stride), -(-width // stride), channels)
        y = torch.empty(2, *size, dtype=x.dtype, device=x.device)
        pixels = size[0] * size[1] * size[2]
        grid, options = launch_config(pixels, x.shape, stride)
        tap = x.new_empty(size, dtype=torch.int8) if ctx.needs_input_grad[0] else None
        partial = statistics = None
        if training:
            sizes = (2, 2, grid[0], channels)
            partial = torch.empty(sizes, dtype=torch.float32, device=x.device)
        pools_fwd_kernel[grid](x, y, tap, partial, pixels, **options)
        if partial is not None:
            statistics = merge_moments(partial, pixels, options["block_p"])
            ctx.mark_non_differentiable(statistics)
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.stride = x.shape, stride
        ctx.save_for_backward(tap)
        maximum, average = y.permute(0, 1, 4, 2, 3)
        return maximum, average, statistics

    @staticmethod
    def backward(
        ctx: Any, gmax: Tensor | None, gmean: Tensor | None, _: None
    ) -> tuple[Tensor | None, None, None]:
        refuse_second_derivative("pools")
        gs = [
            None if g is None else g.contiguous(memory_format=torch.channels_last)
            for g in (gmax, gmean)
        ]
        present = [g for g in gs if g is not None]
        if not present:
            return None, None, None
        (tap,) = ctx.saved_tensors
        n, channels, height, width = ctx.shape
        size = (n, height, width, channels)
        gx = torch.empty(size, dtype=present[0].dtype, device=tap.device)
        grid, options = launch_config(n * height * width, ctx.shape, ctx.stride)
        pools_bwd_kernel[grid](*gs, tap, gx, n * height * width, **options)
        return gx.permute(0, 3, 1, 2), None, None
