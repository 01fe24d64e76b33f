"""The separable branches as Triton kernels: one launch forward, two to four backward.

Tensors are channels-last, so a tile is a run of pixels by some channels. Forward, a program makes
the depthwise output of its pixels tap by tap, multiplies it by the pointwise kernel, and writes
raw outputs and their statistics. Backward, the first launch takes the gradient of the outputs
through the pointwise kernel to a scratch tensor gd; the second gathers gd into the gradient of the
source, summed over the branches that read it. With statistics in training a third applies the
batch-norm backward pass, in place. Where kernels want gradients, one more launch recomputes the
depthwise output and takes both sums. There are no atomics, so equal inputs give equal bits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.fused import (
    batch_norm_coefficients,
    load_statistics,
    merge_moments,
    select,
    store_moments,
)

T = TypeVar("T")


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
    o_n = (o_p // (out_height * out_width)).to(tl.int64)
    o_y = o_p // out_width % out_height * stride + (i - size // 2) * dilation
    o_x = o_p % out_width * stride + (j - size // 2) * dilation
    m_p = (o_p < pixels) & (o_y >= 0) & (o_y < height) & (o_x >= 0) & (o_x < width)
    m_x = m_p[:, None] & (o_c < channels)[None, :]
    o_i = ((o_n * height + o_y) * width + o_x)[:, None] * channels + o_c[None, :]
    b_x = tl.load(p_x + o_i, mask=m_x, other=0.0).to(tl.float32)
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
    """Write the gradients of both kernels over every so-many-th run of pixels, some channels."""
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
    o_n = (o_p // (height * width)).to(tl.int64)
    o_h, o_w = o_p // width % height, o_p % width
    o_c = i_c * block_c + tl.arange(0, block_c)
    m_c = o_c < channels
    m_x = (o_p < pixels)[:, None] & m_c[None, :]
    o_i = o_p.to(tl.int64)[:, None] * channels + o_c[None, :]
    b_gx = tl.zeros([block_p, block_c], tl.float32)
    for i_branch in range(branches):
        i_e = i_s * branches + i_branch
        for i in range(size):
            o_y = o_h + (size // 2 - i) * dilation
            m_y = (o_p < pixels) & (o_y >= 0) & (o_y < out_height * stride) & (o_y % stride == 0)
            for j in tl.static_range(size):
                o_x = o_w + (size // 2 - j) * dilation
                m_o = m_y & (o_x >= 0) & (o_x < out_width * stride) & (o_x % stride == 0)
                o_d = (o_n * out_height + o_y // stride) * out_width + o_x // stride
                o_d = (i_e.to(tl.int64) * out_pixels + o_d)[:, None] * channels + o_c[None, :]
                b_gd = tl.load(p_gd + o_d, mask=m_o[:, None] & m_c[None, :], other=0.0)
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


class Shape(NamedTuple):
    """What the launches depend on; compile-time sizes turn the divisions into products."""

    sources: int
    branches: int
    images: int
    height: int
    width: int
    channels: int
    out_channels: int
    size: int
    stride: int
    dilation: int

    @property
    def out_size(self) -> tuple[int, int]:
        return -(-self.height // self.stride), -(-self.width // self.stride)

    @property
    def pixels(self) -> int:
        return self.images * self.height * self.width

    @property
    def out_pixels(self) -> int:
        return self.images * self.out_size[0] * self.out_size[1]

    def constants(self) -> dict[str, int]:
        names = ("height", "width", "channels", "size", "stride", "dilation")
        return {name: getattr(self, name) for name in names}


Grid = tuple[int, ...]
Options = dict[str, int]


def forward_config(shape: Shape, dtype: torch.dtype) -> tuple[Grid, Options]:
    """Return ((runs of output pixels, branches), options): 16 elements a thread.

    A float32 dot keeps its operands in registers, and spills them in larger programs.
    """
    elements, num_warps = (1024, 2) if dtype == torch.float32 else (2048, 4)
    programs, _, blocks = _dot_tile(shape, elements)
    blocks["num_warps"] = num_warps
    return (programs, shape.branches), {**shape.constants(), **blocks}


def pointwise_config(shape: Shape) -> tuple[Grid, Options]:
    """Return ((runs of output pixels, chunks of channels, branches), options)."""
    programs, chunks, blocks = _dot_tile(shape, elements=1024)
    return (programs, chunks, shape.branches), {"channels": shape.channels, **blocks}


def weights_config(shape: Shape) -> tuple[Grid, Options]:
    """Return ((programs, chunks of channels, branches), options).

    A program writes (C', C) and (k * k, C) partial sums, and reads enough pixels to outweigh them.
    With a limit stated ptxas does not spill a few registers to fit one more program.
    """
    programs, chunks, blocks = _dot_tile(shape, elements=1024)
    pixels = max(2 * shape.out_channels, 8 * shape.size**2)
    programs = triton.cdiv(programs, triton.cdiv(pixels, blocks["block_p"]))
    block_t = triton.next_power_of_2(shape.size**2)
    grid = programs, chunks, shape.branches
    return grid, {**shape.constants(), **blocks, "block_t": block_t, "maxnreg": 224}


def depthwise_config(shape: Shape) -> tuple[Grid, Options]:
    """Return ((runs of input pixels, chunks of channels, sources), options)."""
    block_c, block_p = min(16, triton.next_power_of_2(shape.channels)), 32
    grid = triton.cdiv(shape.pixels, block_p), triton.cdiv(shape.channels, block_c), shape.sources
    options = {"block_p": block_p, "block_c": block_c, "num_warps": 4, **LAUNCH_OPTIONS}
    return grid, {**shape.constants(), **options}


def norm_config(shape: Shape) -> tuple[Grid, Options]:
    """Return ((runs of input pixels, sources), options): eight elements a thread."""
    block_c = triton.next_power_of_2(shape.channels)
    block_p = max(1, 1024 // block_c)
    options = {"block_p": block_p, "block_c": block_c, "num_warps": 4, **LAUNCH_OPTIONS}
    grid = triton.cdiv(shape.pixels, block_p), shape.sources
    return grid, {"channels": shape.channels, **options}


def _dot_tile(shape: Shape, elements: int) -> tuple[int, int, Options]:
    """Runs of output pixels, chunks of channels, options; a dot takes 16 of each at least."""
    block_c = min(32, max(16, triton.next_power_of_2(shape.channels)))
    block_o = max(16, triton.next_power_of_2(shape.out_channels))
    block_p = min(128, max(16, elements // max(block_c, block_o)))
    options = {"block_p": block_p, "block_c": block_c, "block_o": block_o, "num_warps": 4}
    return (
        triton.cdiv(shape.out_pixels, block_p),
        triton.cdiv(shape.channels, block_c),
        {"out_channels": shape.out_channels, **options, **LAUNCH_OPTIONS},
    )


def separable_fused(
    inputs: list[Tensor],
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    statistics: list[Tensor] | None,
    stride: int,
    dilation: int,
    training: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.separable.separable`."""
    x, d, p = inputs[0], depthwise[0], pointwise[0]
    n, c, height, width = x.shape
    shape = Shape(
        *(len(inputs), len(depthwise)),
        *(n, height, width, c, p.shape[0]),
        *(d.shape[-1], stride, dilation),
    )
    with torch.cuda.device(x.get_device()):  # triton launches on the current device
        *outputs, found = _Separable.apply(
            shape, statistics, training, *inputs, *depthwise, *pointwise
        )
    return outputs, [] if found is None else list(found.unbind())


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, shape: Shape, statistics: list[Tensor] | None, training: bool, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, depthwise, pointwise = _split(tensors, shape)
        xs = tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
        dw = torch.stack([d.flatten(1).t() for d in depthwise])  # (E, k * k, C)
        pw = torch.stack([p.flatten(1) for p in pointwise])  # (E, C', C)
        known = None if statistics is None else torch.stack(statistics)  # (S, 2, C)
        grid, options = forward_config(shape, xs[0].dtype)
        size = (shape.branches, shape.images, *shape.out_size, shape.out_channels)
        z = torch.empty(size, dtype=xs[0].dtype, device=xs[0].device)
        partial = found = None
        if training:
            sizes = (shape.branches, 2, grid[0], shape.out_channels)
            partial = torch.empty(sizes, dtype=torch.float32, device=z.device)
        separable_fwd_kernel[grid](xs, known, dw, pw, z, partial, shape.out_pixels, **options)
        if partial is not None:
            found = merge_moments(partial, shape.out_pixels, options["block_p"])
            ctx.mark_non_differentiable(found)
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.training = shape, training
        ctx.likes = [(t.shape, t.dtype) for t in (*depthwise, *pointwise)]
        ctx.save_for_backward(known, dw, pw, *xs)
        return *z.permute(0, 1, 4, 2, 3), found

    @staticmethod
    def backward(ctx: Any, *gs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("separable")
        shape = ctx.shape
        known, dw, pw, *xs = ctx.saved_tensors
        needs_x, needs_dw, needs_pw = _split(ctx.needs_input_grad[3:], shape)
        gzs = tuple(_lay_out(g, shape, xs[0]) for g in gs[:-1])
        gd = _through_pointwise(shape, gzs, pw)
        gxs: tuple[Tensor | None, ...] = (None,) * shape.sources
        kernels: tuple[Tensor | None, ...] = (None,) * (2 * shape.branches)
        if any(needs_x):
            gx = _through_depthwise(shape, gd, xs, known, dw, ctx.training)
            gxs = gx.permute(0, 1, 4, 2, 3).unbind()
        if any(needs_dw) or any(needs_pw):
            gdw, gpw = _weight_gradients(shape, gzs, gd, xs, known, dw)
            kernels = (*gdw, *gpw)
        sources = (g if need else None for g, need in zip(gxs, needs_x, strict=True))
        weights = (
            g.to(dtype).view(size) if need and g is not None else None
            for g, need, (size, dtype) in zip(
                kernels, (*needs_dw, *needs_pw), ctx.likes, strict=True
            )
        )
        return None, None, None, *sources, *weights


def _split(values: Sequence[T], shape: Shape) -> tuple[Sequence[T], Sequence[T], Sequence[T]]:
    """What belongs to the sources, to the depthwise and to the pointwise kernels."""
    first, second = shape.sources, shape.sources + shape.branches
    return values[:first], values[first:second], values[second:]


def _lay_out(g: Tensor | None, shape: Shape, like: Tensor) -> Tensor:
    """An upstream gradient, channels-last; zeros for an output that nothing used."""
    if g is None:
        g = like.new_zeros(shape.images, shape.out_channels, *shape.out_size)
    return g.contiguous(memory_format=torch.channels_last)


def _through_pointwise(shape: Shape, gzs: tuple[Tensor, ...], pw: Tensor) -> Tensor:
    """The gradient of the depthwise outputs, (E, N, H', W', C)."""
    size = (shape.branches, shape.images, *shape.out_size, shape.channels)
    gd = torch.empty(size, dtype=gzs[0].dtype, device=pw.device)
    grid, options = pointwise_config(shape)
    separable_bwd_pointwise_kernel[grid](gzs, pw, gd, shape.out_pixels, **options)
    return gd


def _weight_gradients(
    shape: Shape,
    gzs: tuple[Tensor, ...],
    gd: Tensor,  # (E, N, H', W', C)
    xs: Sequence[Tensor],
    known: Tensor | None,  # (S, 2, C)
    dw: Tensor,  # (E, k * k, C)
) -> tuple[Tensor, Tensor]:
    """The gradients of the depthwise (E, C, k * k) and the pointwise kernels (E, C', C)."""
    grid, options = weights_config(shape)
    gdw = torch.empty(shape.branches, grid[0], *dw.shape[1:], dtype=torch.float32, device=gd.device)
    gpw = torch.empty(
        *gdw.shape[:2], shape.out_channels, shape.channels, dtype=torch.float32, device=gd.device
    )
    separable_bwd_weights_kernel[grid](
        gzs, gd, tuple(xs), known, dw, gdw, gpw, shape.out_pixels, **options
    )
    return gdw.sum(1).transpose(1, 2).contiguous(), gpw.sum(1)


def _through_depthwise(
    shape: Shape,
    gd: Tensor,  # (E, N, H', W', C)
    xs: Sequence[Tensor],
    known: Tensor | None,  # (S, 2, C)
    dw: Tensor,  # (E, k * k, C)
    training: bool,
) -> Tensor:
    """The gradient of the sources, (S, N, H, W, C)."""
    grid, options = depthwise_config(shape)
    size = (shape.sources, shape.images, shape.height, shape.width, shape.channels)
    gx = torch.empty(size, dtype=gd.dtype, device=gd.device)
    sums = None
    if known is not None and training:
        sizes = (2, shape.sources, grid[0], shape.channels)
        sums = torch.empty(sizes, dtype=torch.float32, device=gd.device)
    separable_bwd_depthwise_kernel[grid](
        gd,
        tuple(xs),
        known,
        dw,
        gx,
        sums,
        shape.pixels,
        shape.out_pixels,
        branches=shape.branches // shape.sources,
        **options,
    )
    if sums is not None:
        grid, options = norm_config(shape)
        separable_bwd_norm_kernel[grid](gx, tuple(xs), known, sums.sum(2), shape.pixels, **options)
    return gx
