"""The separable branches by Triton kernels: one launch forward, two to four backward.

Forward, a program makes the depthwise output of its pixels tap by tap, multiplies it by the
pointwise kernel, and writes raw outputs and their statistics. Backward, the first launch takes the
gradient of the outputs through the pointwise kernel to a scratch tensor gd; the second gathers gd
into the gradient of the source, summed over the branches that read it. With statistics in training
a third applies the batch-norm backward pass, in place. Where kernels want gradients, one more
launch recomputes the depthwise output and takes both sums.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import triton
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.fused import merge_moments
from sdedge.kernels.separable.kernels import (
    separable_bwd_depthwise_kernel,
    separable_bwd_norm_kernel,
    separable_bwd_pointwise_kernel,
    separable_bwd_weights_kernel,
    separable_fwd_kernel,
)

T = TypeVar("T")


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
        *outputs, output_statistics = _Separable.apply(
            shape, statistics, training, *inputs, *depthwise, *pointwise
        )
    return outputs, [] if output_statistics is None else list(output_statistics.unbind())


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, shape: Shape, statistics: list[Tensor] | None, training: bool, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, depthwise, pointwise = _split(tensors, shape)
        xs = tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
        dw = torch.stack([d.flatten(1).t() for d in depthwise])  # (E, k * k, C)
        pw = torch.stack([p.flatten(1) for p in pointwise])  # (E, C', C)
        norms = None if statistics is None else torch.stack(statistics)  # (S, 2, C)
        grid, options = forward_config(shape, xs[0].dtype)
        size = (shape.branches, shape.images, *shape.out_size, shape.out_channels)
        z = torch.empty(size, dtype=xs[0].dtype, device=xs[0].device)
        partial = output_statistics = None
        if training:
            sizes = (shape.branches, 2, grid[0], shape.out_channels)
            partial = torch.empty(sizes, dtype=torch.float32, device=z.device)
        separable_fwd_kernel[grid](xs, norms, dw, pw, z, partial, shape.out_pixels, **options)
        if partial is not None:
            output_statistics = merge_moments(partial, shape.out_pixels, options["block_p"])
            ctx.mark_non_differentiable(output_statistics)
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.training = shape, training
        ctx.likes = [(t.shape, t.dtype) for t in (*depthwise, *pointwise)]
        ctx.save_for_backward(norms, dw, pw, *xs)
        return *z.permute(0, 1, 4, 2, 3), output_statistics

    @staticmethod
    def backward(ctx: Any, *gs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("separable")
        shape = ctx.shape
        norms, dw, pw, *xs = ctx.saved_tensors
        needs_x, needs_dw, needs_pw = _split(ctx.needs_input_grad[3:], shape)
        gzs = tuple(_lay_out(g, shape, xs[0]) for g in gs[:-1])
        gd = _through_pointwise(shape, gzs, pw)
        gxs: tuple[Tensor | None, ...] = (None,) * shape.sources
        kernels: tuple[Tensor | None, ...] = (None,) * (2 * shape.branches)
        if any(needs_x):
            gx = _through_depthwise(shape, gd, xs, norms, dw, ctx.training)
            gxs = gx.permute(0, 1, 4, 2, 3).unbind()
        if any(needs_dw) or any(needs_pw):
            gdw, gpw = _weight_gradients(shape, gzs, gd, xs, norms, dw)
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
    norms: Tensor | None,  # (S, 2, C)
    dw: Tensor,  # (E, k * k, C)
) -> tuple[Tensor, Tensor]:
    """The gradients of the depthwise (E, C, k * k) and the pointwise kernels (E, C', C)."""
    grid, options = weights_config(shape)
    gdw = torch.empty(shape.branches, grid[0], *dw.shape[1:], dtype=torch.float32, device=gd.device)
    gpw = torch.empty(
        *gdw.shape[:2], shape.out_channels, shape.channels, dtype=torch.float32, device=gd.device
    )
    separable_bwd_weights_kernel[grid](
        gzs, gd, tuple(xs), norms, dw, gdw, gpw, shape.out_pixels, **options
    )
    return gdw.sum(1).transpose(1, 2).contiguous(), gpw.sum(1)


def _through_depthwise(
    shape: Shape,
    gd: Tensor,  # (E, N, H', W', C)
    xs: Sequence[Tensor],
    norms: Tensor | None,  # (S, 2, C)
    dw: Tensor,  # (E, k * k, C)
    training: bool,
) -> Tensor:
    """The gradient of the sources, (S, N, H, W, C)."""
    grid, options = depthwise_config(shape)
    size = (shape.sources, shape.images, shape.height, shape.width, shape.channels)
    gx = torch.empty(size, dtype=gd.dtype, device=gd.device)
    sums = None
    if norms is not None and training:
        sizes = (2, shape.sources, grid[0], shape.channels)
        sums = torch.empty(sizes, dtype=torch.float32, device=gd.device)
    separable_bwd_depthwise_kernel[grid](
        gd,
        tuple(xs),
        norms,
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
        separable_bwd_norm_kernel[grid](gx, tuple(xs), norms, sums.sum(2), shape.pixels, **options)
    return gx
