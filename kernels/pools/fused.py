"""Both pools as one Triton kernel forward and one backward.

Forward reads each 3x3 window once and writes maximum, average and their statistics, and for the
backward pass which pixel of its window each maximum was, in one byte. Backward, each pixel gathers
from the windows that hold it. There are no atomics, so equal inputs give equal bits.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.fused import merge_moments, store_moments


@triton.jit
def pools_fwd_kernel(
    p_x: tl.tensor,  # (N, H, W, C)
    p_y: tl.tensor,  # (2, N, H', W', C): maximum, average
    p_tap: tl.tensor,  # (N, H', W', C) int8, where in its window the maximum is; or None
    p_partial: tl.tensor,  # (2, 2, programs, C) fp32, or None if no statistics are wanted
    pixels: int,  # N * H' * W'
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    stride: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Write both pools of a run of pixels, and their moments."""
    out_height: tl.constexpr = (height + stride - 1) // stride
    out_width: tl.constexpr = (width + stride - 1) // stride
    i_p, programs = tl.program_id(0), tl.num_programs(0)
    o_c = tl.program_id(1) * block_c + tl.arange(0, block_c)
    o_p = i_p * block_p + tl.arange(0, block_p)
    o_n = (o_p // (out_height * out_width)).to(tl.int64)
    o_h = o_p // out_width % out_height * stride
    o_w = o_p % out_width * stride
    m_p, m_c = o_p < pixels, o_c < channels
    b_max = tl.full([block_p, block_c], -float("inf"), tl.float32)
    b_tap = tl.zeros([block_p, block_c], tl.int8)
    b_sum = tl.zeros([block_p, block_c], tl.float32)
    b_count = tl.zeros([block_p], tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            o_y, o_x = o_h + i - 1, o_w + j - 1
            m_x = m_p & (o_y >= 0) & (o_y < height) & (o_x >= 0) & (o_x < width)
            o_i = ((o_n * height + o_y) * width + o_x)[:, None] * channels + o_c[None, :]
            m_i = m_x[:, None] & m_c[None, :]
            b_x = tl.load(p_x + o_i, mask=m_i, other=-float("inf")).to(tl.float32)
            m_new = (b_x > b_max) | (b_x != b_x)  # NaN goes on, as in torch
            b_max = tl.where(m_new, b_x, b_max)
            b_tap = tl.where(m_new, 3 * i + j, b_tap)
            b_sum += tl.where(m_i, b_x, 0.0)
            b_count += m_x.to(tl.float32)
    b_mean = b_sum / tl.maximum(b_count, 1.0)[:, None]
    m_i = m_p[:, None] & m_c[None, :]
    o_i = o_p.to(tl.int64)[:, None] * channels + o_c[None, :]
    b_max, b_mean = b_max.to(p_y.dtype.element_ty), b_mean.to(p_y.dtype.element_ty)
    tl.store(p_y + o_i, b_max, mask=m_i)
    tl.store(p_y + tl.cast(pixels, tl.int64) * channels + o_i, b_mean, mask=m_i)
    if p_tap is not None:
        tl.store(p_tap + o_i, b_tap.to(tl.int8), mask=m_i)
    if p_partial is not None:  # of what a consumer reads
        store_moments(p_partial, b_max.to(tl.float32), m_p, o_c, i_p, programs, channels)
        p_partial += 2 * programs * channels
        store_moments(p_partial, b_mean.to(tl.float32), m_p, o_c, i_p, programs, channels)


@triton.jit
def pools_bwd_kernel(
    p_gmax: tl.tensor,  # (N, H', W', C), or None
    p_gmean: tl.tensor,  # (N, H', W', C), or None
    p_tap: tl.tensor,  # (N, H', W', C) int8
    p_gx: tl.tensor,  # (N, H, W, C)
    pixels: int,  # N * H * W
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    stride: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Write the gradient of a run of pixels, from the windows that hold them."""
    out_height: tl.constexpr = (height + stride - 1) // stride
    out_width: tl.constexpr = (width + stride - 1) // stride
    o_c = tl.program_id(1) * block_c + tl.arange(0, block_c)
    o_p = tl.program_id(0) * block_p + tl.arange(0, block_p)
    o_n = (o_p // (height * width)).to(tl.int64)
    o_h, o_w = o_p // width % height, o_p % width
    m_p, m_c = o_p < pixels, o_c < channels
    b_gx = tl.zeros([block_p, block_c], tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            o_y, o_x = o_h + 1 - i, o_w + 1 - j  # the middle of the window, in pixels of x
            m_y = (o_y >= 0) & (o_y < out_height * stride) & (o_y % stride == 0)
            m_x = (o_x >= 0) & (o_x < out_width * stride) & (o_x % stride == 0)
            m_i = (m_p & m_y & m_x)[:, None] & m_c[None, :]
            o_i = (o_n * out_height + o_y // stride) * out_width + o_x // stride
            o_i = o_i[:, None] * channels + o_c[None, :]
            if p_gmax is not None:
                b_tap = tl.load(p_tap + o_i, mask=m_i, other=-1)
                b_g = tl.load(p_gmax + o_i, mask=m_i, other=0.0).to(tl.float32)
                b_gx += tl.where(b_tap == 3 * i + j, b_g, 0.0)
            if p_gmean is not None:
                o_rows = tl.minimum(o_y + 2, height) - tl.maximum(o_y - 1, 0)
                o_columns = tl.minimum(o_x + 2, width) - tl.maximum(o_x - 1, 0)
                b_share = 1.0 / (o_rows * o_columns).to(tl.float32)
                b_g = tl.load(p_gmean + o_i, mask=m_i, other=0.0).to(tl.float32)
                b_gx += b_g * b_share[:, None]
    o_i = o_p.to(tl.int64)[:, None] * channels + o_c[None, :]
    tl.store(p_gx + o_i, b_gx.to(p_gx.dtype.element_ty), mask=m_p[:, None] & m_c[None, :])


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
        *outputs, found = _Pools.apply(x, stride, training)
    return outputs, [] if found is None else list(found.unbind())


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
        partial = found = None
        if training:
            sizes = (2, 2, grid[0], channels)
            partial = torch.empty(sizes, dtype=torch.float32, device=x.device)
        pools_fwd_kernel[grid](x, y, tap, partial, pixels, **options)
        if partial is not None:
            found = merge_moments(partial, pixels, options["block_p"])
            ctx.mark_non_differentiable(found)
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.stride = x.shape, stride
        ctx.save_for_backward(tap)
        maximum, average = y.permute(0, 1, 4, 2, 3)
        return maximum, average, found

    @staticmethod
    def backward(
        ctx: Any, gmax: Tensor | None, gmean: Tensor | None, _: None
    ) -> tuple[Tensor | None, None, None]:
        refuse_second_derivative("pools")
        gs = [
            None if g is None else g.contiguous(memory_format=torch.channels_last)
            for g in (gmax, gmean)
        ]
        given = [g for g in gs if g is not None]
        if not given:
            return None, None, None
        (tap,) = ctx.saved_tensors
        n, channels, height, width = ctx.shape
        size = (n, height, width, channels)
        gx = torch.empty(size, dtype=given[0].dtype, device=tap.device)
        grid, options = launch_config(n * height * width, ctx.shape, ctx.stride)
        pools_bwd_kernel[grid](*gs, tap, gx, n * height * width, **options)
        return gx.permute(0, 3, 1, 2), None, None
