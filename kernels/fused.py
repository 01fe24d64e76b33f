"""What the Triton kernels of several operators share: layout, batch norm and its statistics.

Statistics are sound for any mean: a program takes the sum of its pixels and their squared
deviations from its own mean, and one more launch merges the programs. Chan, Golub and LeVeque:
Updating formulae and a pairwise algorithm for computing sample variances (1979), equation 2.1.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.kernels.batch_norm import EPS
from sdedge.kernels.dispatch import LAUNCH_OPTIONS

_EPS = tl.constexpr(EPS)


@triton.jit
def select(p_xs: tl.tuple, i: tl.tensor) -> tl.tensor:
    """The i-th of several pointers, or the only one."""
    p_x = p_xs[0]
    for k in tl.static_range(1, len(p_xs)):
        p_x = tl.where(i == k, p_xs[k], p_x)
    return p_x


@triton.jit
def position(o_p: tl.tensor, height: tl.constexpr, width: tl.constexpr) -> tl.tuple:
    """Image, row and column of some of the pixels of images of one size."""
    return (o_p // (height * width)).to(tl.int64), o_p // width % height, o_p % width


@triton.jit
def pixel_at(
    o_n: tl.tensor,
    o_y: tl.tensor,
    o_x: tl.tensor,
    m_p: tl.tensor,
    height: tl.constexpr,
    width: tl.constexpr,
    stride: tl.constexpr,
) -> tl.tuple:
    """The pixels at (o_y, o_x) / stride of images o_n, and the mask less those that are none."""
    m_p = m_p & (o_y >= 0) & (o_y < height * stride) & (o_y % stride == 0)
    m_p = m_p & (o_x >= 0) & (o_x < width * stride) & (o_x % stride == 0)
    return (o_n * height + o_y // stride) * width + o_x // stride, m_p


@triton.jit
def reciprocal_deviation(b_variance: tl.tensor) -> tl.tensor:
    """`sdedge.kernels.batch_norm.reciprocal_deviation` of variances."""
    return tl.rsqrt(b_variance + _EPS)


@triton.jit
def load_statistics(
    p_statistics: tl.tensor,  # (2, C): mean, variance
    o_c: tl.tensor,
    channels: tl.constexpr,
) -> tl.tuple:
    """Mean and reciprocal deviation of some channels."""
    b_mean = tl.load(p_statistics + o_c, mask=o_c < channels, other=0.0).to(tl.float32)
    b_variance = tl.load(p_statistics + channels + o_c, mask=o_c < channels, other=0.0)
    return b_mean, reciprocal_deviation(b_variance.to(tl.float32))


@triton.jit
def batch_norm_coefficients(
    b_mean: tl.tensor,  # (C,)
    b_r: tl.tensor,  # (C,)
    b_w: tl.tensor,  # ()
    b_g: tl.tensor,  # (C,)
    b_gz: tl.tensor,  # (C,), of g * (z - mean)
    count: int,
) -> tl.tuple:
    """`sdedge.kernels.batch_norm.backward` in training: a, b, c, and the sum of g * zhat."""
    b_gzhat = b_r * b_gz
    b_a = b_w * b_r
    b_b = -b_a * b_r * b_gzhat / count
    return b_a, b_b, -b_a * b_g / count - b_b * b_mean, b_gzhat


@triton.jit
def store_moments(
    p_partial: tl.tensor,  # (2, programs, C) fp32 of one tensor: sums, squared deviations
    b_z: tl.tensor,  # (P, C) fp32
    m_p: tl.tensor,  # (P,)
    o_c: tl.tensor,  # (C,)
    i_program: tl.tensor,
    programs: tl.tensor,
    channels: tl.constexpr,
) -> None:
    """Write the sum of each channel of one tile, and its squared deviations from its own mean."""
    m_z = m_p[:, None] & (o_c < channels)[None, :]
    b_sum = tl.sum(tl.where(m_z, b_z, 0.0), 0)
    b_mean = b_sum / tl.sum(m_p.to(tl.float32), 0)
    b_deviation = tl.where(m_z, b_z, b_mean[None, :]) - b_mean[None, :]
    o_i = i_program * channels + o_c
    tl.store(p_partial + o_i, b_sum, mask=o_c < channels)
    o_i += programs * channels
    tl.store(p_partial + o_i, tl.sum(b_deviation * b_deviation, 0), mask=o_c < channels)


@triton.jit
def merge_moments_kernel(
    p_partial: tl.tensor,  # (E, 2, programs, C) fp32
    p_statistics: tl.tensor,  # (E, 2, C) fp32
    programs: int,
    pixels: int,  # of all programs
    pixels_per_program: int,  # of all but the last
    channels: tl.constexpr,
    block: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Write mean and variance of some channels of one tensor."""
    i_e = tl.program_id(0)
    o_c = tl.program_id(1) * block_c + tl.arange(0, block_c)
    m_c = (o_c < channels)[None, :]
    p_sum = p_partial + i_e * 2 * programs * channels
    p_square = p_sum + programs * channels
    b_sum = tl.zeros([block, block_c], tl.float32)
    for start in range(0, programs, block):
        o_r = start + tl.arange(0, block)[:, None]
        b_sum += tl.load(p_sum + o_r * channels + o_c, mask=(o_r < programs) & m_c, other=0.0)
    b_mean = tl.sum(b_sum, 0) / pixels
    b_square = tl.zeros([block, block_c], tl.float32)
    for start in range(0, programs, block):
        o_r = start + tl.arange(0, block)[:, None]
        m_r = (o_r < programs) & m_c
        b_n = tl.minimum(pixels_per_program, pixels - o_r * pixels_per_program)
        b_n = tl.maximum(b_n, 1).to(tl.float32)
        b_off = tl.load(p_sum + o_r * channels + o_c, mask=m_r, other=0.0) / b_n - b_mean[None, :]
        b_within = tl.load(p_square + o_r * channels + o_c, mask=m_r, other=0.0)
        b_square += tl.where(m_r, b_within + b_n * b_off * b_off, 0.0)
    o_i = i_e * 2 * channels + o_c
    tl.store(p_statistics + o_i, b_mean, mask=o_c < channels)
    tl.store(p_statistics + o_i + channels, tl.sum(b_square, 0) / pixels, mask=o_c < channels)


def merge_moments(partial: Tensor, pixels: int, pixels_per_program: int) -> Tensor:
    """Statistics from what `store_moments` wrote: (E, 2, programs, C) -> (E, 2, C)."""
    tensors, _, programs, channels = partial.shape
    statistics = torch.empty(tensors, 2, channels, dtype=torch.float32, device=partial.device)
    grid = (tensors, triton.cdiv(channels, 16))
    merge_moments_kernel[grid](
        partial,
        statistics,
        programs,
        pixels,
        pixels_per_program,
        channels=channels,
        block=128,
        block_c=16,
        **LAUNCH_OPTIONS,
    )
    return statistics


def lay_out(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Return x, or a copy of it, with these strides."""
    if x.stride() == tuple(stride):
        return x
    return torch.empty_strided(x.shape, stride, dtype=x.dtype, device=x.device).copy_(x)
