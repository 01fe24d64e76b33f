"""The Triton kernels of the pools.

Tensors are channels-last, so a tile is a run of pixels by some channels. There are no atomics, so
equal inputs give equal bits.
"""

import triton
import triton.language as tl

from sdedge.kernels.fused import pixel_at, position, store_moments


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
    o_n, o_h, o_w = position(o_p, out_height, out_width)
    m_p, m_c = o_p < pixels, o_c < channels
    b_max = tl.full([block_p, block_c], -float("inf"), tl.float32)
    b_tap = tl.zeros([block_p, block_c], tl.int8)
    b_sum = tl.zeros([block_p, block_c], tl.float32)
    b_count = tl.zeros([block_p], tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            o_y, o_x = o_h * stride + i - 1, o_w * stride + j - 1
            o_i, m_x = pixel_at(o_n, o_y, o_x, m_p, height, width, 1)
            o_i = o_i[:, None] * channels + o_c[None, :]
            m_i = m_x[:, None] & m_c[None, :]
            b_x = tl.load(p_x + o_i, mask=m_i, other=-float("inf")).to(tl.float32)
            m_new = (b_x > b_max) | (b_x != b_x)  # NaN propagates, as in torch
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
    o_n, o_h, o_w = position(o_p, height, width)
    m_p, m_c = o_p < pixels, o_c < channels
    b_gx = tl.zeros([block_p, block_c], tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            o_y, o_x = o_h + 1 - i, o_w + 1 - j  # the middle of the window, in pixels of x
            o_i, m_i = pixel_at(o_n, o_y, o_x, m_p, out_height, out_width, stride)
            o_i = o_i[:, None] * channels + o_c[None, :]
            m_i = m_i[:, None] & m_c[None, :]
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
