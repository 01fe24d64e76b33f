"""The mixed sum as one Triton pass forward and one backward.

All tensors are brought to one dense memory layout and read flat. Each program of the backward
pass reads one block of the upstream gradient and of every input, writes the input gradients and
one partial sum for each weight; torch then adds up the partial sums. There are no atomics, so
equal inputs give equal bits.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative

MAX_INPUTS = 40  # one launch unrolls over its inputs; the last node of a DARTS cell has 35


@triton.jit
def mixed_sum_fwd_kernel(
    p_xs: tl.tuple,  # K x (n,)
    p_w: tl.tensor,  # (K,)
    p_carry: tl.tensor,  # (n,) fp32, the sum over the inputs of earlier launches, or None
    p_y: tl.tensor,  # (n,)
    n: int,
    block: tl.constexpr,
) -> None:
    """Write one block of y = sum over k of w[k] * x[k], added to the carry of earlier launches."""
    o_i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    m_i = o_i < n
    b_y = tl.zeros([block], tl.float32) if p_carry is None else tl.load(p_carry + o_i, mask=m_i)
    for k in tl.static_range(len(p_xs)):
        b_x = tl.load(p_xs[k] + o_i, mask=m_i).to(tl.float32)
        b_y += tl.load(p_w + k).to(tl.float32) * b_x
    tl.store(p_y + o_i, b_y.to(p_y.dtype.element_ty), mask=m_i)


@triton.jit
def mixed_sum_bwd_kernel(
    p_g: tl.tensor,  # (n,)
    p_xs: tl.tuple,  # K x (n,), or empty without p_partial
    p_w: tl.tensor,  # (K,)
    p_gxs: tl.tuple,  # K x (n,), None where no gradient is wanted
    p_partial: tl.tensor,  # (K, programs) fp32, or None if weights need no gradient
    n: int,
    block: tl.constexpr,
) -> None:
    """Write one block of every input gradient, and its share of the weight gradients."""
    i_program = tl.program_id(0)
    o_i = i_program.to(tl.int64) * block + tl.arange(0, block)
    m_i = o_i < n
    b_g = tl.load(p_g + o_i, mask=m_i, other=0.0).to(tl.float32)
    for k in tl.static_range(len(p_gxs)):
        if p_gxs[k] is not None:
            b_gx = tl.load(p_w + k).to(tl.float32) * b_g
            tl.store(p_gxs[k] + o_i, b_gx.to(p_gxs[k].dtype.element_ty), mask=m_i)
        if p_partial is not None:
            b_x = tl.load(p_xs[k] + o_i, mask=m_i, other=0.0).to(tl.float32)
            tl.store(p_partial + k * tl.num_programs(0) + i_program, tl.sum(b_g * b_x))


def launch_config(numel: int) -> tuple[int, dict[str, int]]:
    """Return (programs, options): four elements a thread.

    That is the widest load for float32. Eight halves a thread would be theirs, but spill registers
    at 35 inputs.
    """
    block, num_warps = 512, 4
    return triton.cdiv(numel, block), {"block": block, "num_warps": num_warps, **LAUNCH_OPTIONS}


def mixed_sum_fused(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """See `sdedge.kernels.mixed_sum.mixed_sum`."""
    with torch.cuda.device(weights.get_device()):  # triton launches on the current device
        y: Tensor = _MixedSum.apply(weights, *inputs)
    return y


class _MixedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, *inputs: Tensor) -> Tensor:
        y = torch.empty_like(inputs[0])  # dense, in the dimension order of inputs[0]
        xs = tuple(_lay_out(x, y.stride()) for x in inputs)
        weights = weights.contiguous()
        programs, options = launch_config(y.numel())
        carry = None
        for start in range(0, len(xs), MAX_INPUTS):
            some = slice(start, start + MAX_INPUTS)
            total = y if some.stop >= len(xs) else torch.empty_like(y, dtype=torch.float32)
            mixed_sum_fwd_kernel[(programs,)](
                xs[some], weights[some], carry, total, y.numel(), **options
            )
            carry = total
        ctx.stride = y.stride()
        ctx.save_for_backward(weights, *(xs if ctx.needs_input_grad[0] else ()))
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("mixed_sum")
        weights, *xs = ctx.saved_tensors
        g = _lay_out(g, ctx.stride)
        needs_weights, *needs = ctx.needs_input_grad
        programs, options = launch_config(g.numel())
        gxs = tuple(torch.empty_like(g) if need else None for need in needs)
        partial = None
        if needs_weights:
            partial = torch.empty(len(needs), programs, dtype=torch.float32, device=g.device)
        for start in range(0, len(needs), MAX_INPUTS):
            some = slice(start, start + MAX_INPUTS)
            mixed_sum_bwd_kernel[(programs,)](
                g,
                tuple(xs[some]),
                weights[some],
                gxs[some],
                None if partial is None else partial[some],
                g.numel(),
                **options,
            )
        return None if partial is None else partial.sum(1).to(weights.dtype), *gxs


def _lay_out(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return x, or a copy of it, with these strides."""
    if x.stride() == stride:
        return x
    return torch.empty_strided(x.shape, stride, dtype=x.dtype, device=x.device).copy_(x)
