"""The Triton kernels of the separable branches.

Tensors are channels-last, so a tile is a run of pixels by some channels. There are no atomics, so
equal inputs give equal bits.
"""

import triton
import triton.language as tl

from sdedge.kernels.fused import (
    batch_norm_coefficients,
    load_statistics,
    pixel_at,
    position,
    select,
    store_moments,
)


@triton.jit
def rectified(
    b_x: tl.tensor,  # (P, C) fp32
    m_x: tl.tensor,  # (P, C), or what broadcasts
    p_statistics: tl.tensor,  # (2, C), or None
    o_c: tl.tensor,
    channels: tl.constexpr,
) -> tl.tensor:
    """ReLU of the normalised input; 0 outside the image."""
    if p_statistics is not None:
        b_mean, b_r = load_statistics(p_statistics, o_c, channels)
        b_x = tl.where(m_x, (b_x - b_mean[None, :]) * b_r[None, :], 0.0)
    return tl.maximum(b_x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def load_tap(
    p_x: tl.tensor,  # (N, H, W, C)
    p_statistics: tl.tensor,  # (2, C), or None
    o_p: tl.tensor,  # (P,), output pixels
    o_c: tl.tensor,  # (C,)
    i: tl.tensor,
    j: tl.tensor,
    pixels: int,  # N * H' * W'
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    size: tl.constexpr,
    stride: tl.constexpr,
    dilation: tl.constexpr,
) -> tl.tensor:
    """What row i, column j of the kernel meets in the rectified input: (P, C) fp32."""
    out_height: tl.constexpr = (height + stride - 1) // stride
    out_width: tl.constexpr = (width + stride - 1) // stride
    o_n, o_y, o_x = position(o_p, out_height, out_width)
    o_y = o_y * stride + (i - size // 2) * dilation
    o_x = o_x * stride + (j - size // 2) * dilation
    o_i, m_i = pixel_at(o_n, o_y, o_x, o_p < pixels, height, width, 1)
    m_x = m_i[:, None] & (o_c < channels)[None, :]
    b_x = tl.load(p_x + o_i[:, None] * channels + o_c[None, :], mask=m_x, other=0.0).to(tl.float32)
    return rectified(b_x, m_x, p_statistics, o_c, channels)


@triton.jit
def separable_fwd_kernel(
    p_xs: tl.tuple,  # S x (N, H, W, C), S is 1 or E
    p_statistics: tl.tensor,  # (S, 2, C), or None
    p_dw: tl.tensor,  # (E, k * k, C)
    p_pw: tl.tensor,  # (E, C', C)
    p_z: tl.tensor,  # (E, N, H', W', C')
    p_partial: tl.tensor,  # (E, 2, programs, C') fp32, or None if no statistics are wanted
    pixels: int,  # N * H' * W'
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    out_channels: tl.constexpr,
    size: tl.constexpr,
    stride: tl.constexpr,
    dilation: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
    block_o: tl.constexpr,
) -> None:
    """Write the raw output of a run of pixels of one branch, and their moments."""
    i_p, i_e = tl.program_id(0), tl.program_id(1)
    p_x = select(p_xs, i_e)
    if p_statistics is not None and len(p_xs) > 1:
        p_statistics += i_e * 2 * channels
    o_p = i_p * block_p + tl.arange(0, block_p)
    m_p = o_p < pixels
    o_o = tl.arange(0, block_o)
    m_o = o_o < out_channels
    b_z = tl.zeros([block_p, block_o], tl.float32)
    for start in range(0, channels, block_c):
        o_c = start + tl.arange(0, block_c)
        m_c = o_c < channels
        b_d = tl.zeros([block_p, block_c], tl.float32)
        for i in range(size):
            for j in tl.static_range(size):
                b_x = load_tap(
                    *(p_x, p_statistics, o_p, o_c, i, j),
                    *(pixels, height, width, channels, size, stride, dilation),
                )
                i_tap = (i_e * size + i) * size + j
                b_tap = tl.load(p_dw + i_tap * channels + o_c, mask=m_c, other=0.0)
                b_d += b_x * b_tap.to(tl.float32)[None, :]
        b_pw = tl.load(
            p_pw + i_e * out_channels * channels + o_o[None, :] * channels + o_c[:, None],
            mask=m_o[None, :] & m_c[:, None],
            other=0.0,
        )
        dtype = p_x.dtype.element_ty
        b_z = tl.dot(b_d.to(dtype), b_pw.to(dtype), b_z, input_precision="ieee")
    b_out = b_z.to(p_z.dtype.element_ty)
    o_i = (i_e.to(tl.int64) * pixels + o_p)[:, None] * out_channels + o_o[None, :]
    tl.store(p_z + o_i, b_out, mask=m_p[:, None] & m_o[None, :])
    if p_partial is not None:
        p_partial += i_e * 2 * tl.num_programs(0) * out_channels
        b_out = b_out.to(tl.float32)  # statistics of what a consumer reads
        store_moments(p_partial, b_out, m_p, o_o, i_p, tl.num_programs(0), out_channels)


@triton.jit
def separable_bwd_pointwise_kernel(
    p_gzs: tl.tuple,  # E x (N, H', W', C')
    p_pw: tl.tensor,  # (E, C', C)
    p_gd: tl.tensor,  # (E, N, H', W', C)
    pixels: int,  # N * H' * W'
    channels: tl.constexpr,
    out_channels: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
    block_o: tl.constexpr,
) -> None:
    """Write some channels of gd for a run of pixels."""
    i_p, i_c, i_e = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    dtype = p_gd.dtype.element_ty
    o_p = i_p * block_p + tl.arange(0, block_p)
    o_c, o_o = i_c * block_c + tl.arange(0, block_c), tl.arange(0, block_o)
    m_p, m_c, m_o = o_p < pixels, o_c < channels, o_o < out_channels
    b_gz = tl.load(
        select(p_gzs, i_e) + o_p.to(tl.int64)[:, None] * out_channels + o_o[None, :],
        mask=m_p[:, None] & m_o[None, :],
        other=0.0,
    )
    b_pw = tl.load(
        p_pw + i_e * out_channels * channels + o_o[:, None] * channels + o_c[None, :],
        mask=m_o[:, None] & m_c[None, :],
        other=0.0,
    )
    b_gd = tl.dot(b_gz, b_pw.to(dtype), input_precision="ieee")
    o_d = (i_e.to(tl.int64) * pixels + o_p)[:, None] * channels + o_c[None, :]
    tl.store(p_gd + o_d, b_gd.to(dtype), mask=m_p[:, None] & m_c[None, :])


@triton.jit
def separable_bwd_weights_kernel(
    p_gzs: tl.tuple,  # E x (N, H', W', C')
    p_gd: tl.tensor,  # (E, N, H', W', C)
    p_xs: tl.tuple,  # S x (N, H, W, C), S is 1 or E
    p_statistics: tl.tensor,  # (S, 2, C), or None
    p_dw: tl.tensor,  # (E, k * k, C)
    p_gdw: tl.tensor,  # (E, programs, k * k, C) fp32
    p_gpw: tl.tensor,  # (E, programs, C', C) fp32
    pixels: int,  # N * H' * W'
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    out_channels: tl.constexpr,
    size: tl.constexpr,
    stride: tl.constexpr,
    dilation: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
    block_o: tl.constexpr,
    block_t: tl.constexpr,
) -> None:
    """Write some channels of the gradients of both kernels, over this program's share of pixels."""
    i_p, i_c, i_e = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p_gz, p_x = select(p_gzs, i_e), select(p_xs, i_e)
    if p_statistics is not None and len(p_xs) > 1:
        p_statistics += i_e * 2 * channels
    o_c, o_o = i_c * block_c + tl.arange(0, block_c), tl.arange(0, block_o)
    m_c, m_o = o_c < channels, o_o < out_channels
    b_gpw = tl.zeros([block_o, block_c], tl.float32)
    b_gdw = tl.zeros([block_t, block_c], tl.float32)
    o_t = tl.arange(0, block_t)[:, None]
    for i in range(i_p, tl.cdiv(pixels, block_p), tl.num_programs(0)):
        o_p = i * block_p + tl.arange(0, block_p)
        m_p = (o_p < pixels)[:, None]
        o_d = (i_e.to(tl.int64) * pixels + o_p)[:, None] * channels + o_c[None, :]
        b_gd = tl.load(p_gd + o_d, mask=m_p & m_c[None, :], other=0.0).to(tl.float32)
        b_d = tl.zeros([block_p, block_c], tl.float32)
        for i_tap in range(size * size):
            b_x = load_tap(
                *(p_x, p_statistics, o_p, o_c, i_tap // size, i_tap % size),
                *(pixels, height, width, channels, size, stride, dilation),
            )
            o_dw = (i_e * size * size + i_tap) * channels + o_c
            b_d += b_x * tl.load(p_dw + o_dw, mask=m_c, other=0.0).to(tl.float32)[None, :]
            b_gdw += tl.where(o_t == i_tap, tl.sum(b_x * b_gd, 0)[None, :], 0.0)
        o_z = o_p.to(tl.int64)[:, None] * out_channels + o_o[None, :]
        b_gz = tl.load(p_gz + o_z, mask=m_p & m_o[None, :], other=0.0)
        b_d = b_d.to(b_gz.dtype)
        b_gpw = tl.dot(tl.trans(b_gz), b_d, b_gpw, input_precision="ieee")
    i_partial = i_e * tl.num_programs(0) + i_p
    o_pw = (i_partial * out_channels + o_o)[:, None] * channels + o_c[None, :]
    tl.store(p_gpw + o_pw, b_gpw, mask=m_o[:, None] & m_c[None, :])
    o_dw = (i_partial * size * size + o_t) * channels + o_c[None, :]
    tl.store(p_gdw + o_dw, b_gdw, mask=(o_t < size * size) & m_c[None, :])


@triton.jit
def separable_bwd_depthwise_kernel(
    p_gd: tl.tensor,  # (E, N, H', W', C)
    p_xs: tl.tuple,  # S x (N, H, W, C), S is 1 or E
    p_statistics: tl.tensor,  # (S, 2, C), or None
    p_dw: tl.tensor,  # (E, k * k, C)
    p_gx: tl.tensor,  # (S, N, H, W, C)
    p_sums: tl.tensor,  # (2, S, programs, C) fp32, of gu and gu * (x - mean), or None
    pixels: int,  # N * H * W
    out_pixels: int,  # N * H' * W'
    branches: tl.constexpr,  # E / S
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    size: tl.constexpr,
    stride: tl.constexpr,
    dilation: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Write some channels of the gradient of one source.

    Where `p_sums` is given the gradient is gu, of the normalised source, and its sums follow.
    """
    i_p, i_c, i_s = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p_x = select(p_xs, i_s)
    if p_statistics is not None:
        p_statistics += i_s * 2 * channels
    out_height: tl.constexpr = (height + stride - 1) // stride
    out_width: tl.constexpr = (width + stride - 1) // stride
    o_p = i_p * block_p + tl.arange(0, block_p)
    o_n, o_h, o_w = position(o_p, height, width)
    o_c = i_c * block_c + tl.arange(0, block_c)
    m_c = o_c < channels
    m_x = (o_p < pixels)[:, None] & m_c[None, :]
    o_i = o_p.to(tl.int64)[:, None] * channels + o_c[None, :]
    b_gx = tl.zeros([block_p, block_c], tl.float32)
    for i_branch in range(branches):
        i_e = i_s * branches + i_branch
        for i in range(size):
            o_y = o_h + (size // 2 - i) * dilation
            for j in tl.static_range(size):
                o_x = o_w + (size // 2 - j) * dilation
                o_d, m_d = pixel_at(o_n, o_y, o_x, o_p < pixels, out_height, out_width, stride)
                o_d = (i_e.to(tl.int64) * out_pixels + o_d)[:, None] * channels + o_c[None, :]
                b_gd = tl.load(p_gd + o_d, mask=m_d[:, None] & m_c[None, :], other=0.0)
                i_tap = (i_e * size + i) * size + j
                b_tap = tl.load(p_dw + i_tap * channels + o_c, mask=m_c, other=0.0)
                b_gx += b_gd.to(tl.float32) * b_tap.to(tl.float32)[None, :]
    b_x = tl.load(p_x + o_i, mask=m_x, other=0.0).to(tl.float32)
    b_gx = tl.where(rectified(b_x, m_x, p_statistics, o_c, channels) > 0, b_gx, 0.0)
    if p_statistics is not None:
        b_mean, b_r = load_statistics(p_statistics, o_c, channels)
        if p_sums is None:
            b_gx *= b_r[None, :]
        else:
            o_s = (i_s * tl.num_programs(0) + i_p) * channels + o_c
            tl.store(p_sums + o_s, tl.sum(b_gx, 0), mask=m_c)
            o_s += tl.num_programs(2) * tl.num_programs(0) * channels
            b_x -= b_mean[None, :]  # b_gx is 0 outside the image
            tl.store(p_sums + o_s, tl.sum(b_gx * b_x, 0), mask=m_c)
    o_i += i_s.to(tl.int64) * pixels * channels
    tl.store(p_gx + o_i, b_gx.to(p_gx.dtype.element_ty), mask=m_x)


@triton.jit
def separable_bwd_norm_kernel(
    p_gx: tl.tensor,  # (S, pixels, C), holds gu
    p_xs: tl.tuple,  # S x (pixels, C)
    p_statistics: tl.tensor,  # (S, 2, C)
    p_sums: tl.tensor,  # (2, S, C) fp32, of gu and gu * (x - mean)
    pixels: int,
    channels: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Turn the gradient of the normalised source into that of the source, in place."""
    i_s = tl.program_id(1)
    p_x = select(p_xs, i_s)
    o_c = tl.arange(0, block_c)
    m_c = o_c < channels
    b_mean, b_r = load_statistics(p_statistics + i_s * 2 * channels, o_c, channels)
    p_sums += i_s * channels
    b_g = tl.load(p_sums + o_c, mask=m_c, other=0.0)
    b_gx = tl.load(p_sums + tl.num_programs(1) * channels + o_c, mask=m_c, other=0.0)
    b_a, b_b, b_c, _ = batch_norm_coefficients(b_mean, b_r, 1.0, b_g, b_gx, pixels)
    o_p = tl.program_id(0).to(tl.int64) * block_p + tl.arange(0, block_p)
    m_i = (o_p < pixels)[:, None] & m_c[None, :]
    o_i = o_p[:, None] * channels + o_c[None, :]
    b_x = tl.load(p_x + o_i, mask=m_i).to(tl.float32)
    p_gx += i_s.to(tl.int64) * pixels * channels
    b_gx = b_a[None, :] * tl.load(p_gx + o_i, mask=m_i).to(tl.float32) + b_b[None, :] * b_x
    tl.store(p_gx + o_i, (b_gx + b_c[None, :]).to(p_gx.dtype.element_ty), mask=m_i)
