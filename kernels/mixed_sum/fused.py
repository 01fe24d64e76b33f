"""The mixed sum as one Triton pass over its inputs forward, and one or two backward.

All tensors are brought to one dense memory layout. Batch norm and mixing weight fold into two
numbers for each input and channel, y = sum over k of scale[k] * (z[k] - mean[k]), so a normalised
tensor never exists. Two tiny launches first write these, and the addresses of the inputs, so that
the passes loop over any number of inputs and are compiled once for all.

Backward, one pass takes the sums that weights and batch norm need, over a bounded number of
programs; a small launch turns them into gz[k] = a[k] * g + b[k] * z[k] + c[k] and the gradient of
the weights; a second pass writes the gz.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from sdedge.kernels.dispatch import LAUNCH_OPTIONS, refuse_second_derivative
from sdedge.kernels.fused import lay_out
from sdedge.kernels.mixed_sum.kernels import (
    mixed_sum_address_kernel,
    mixed_sum_bwd_kernel,
    mixed_sum_coefficients_kernel,
    mixed_sum_fold_kernel,
    mixed_sum_fwd_kernel,
    mixed_sum_sums_kernel,
)

_AT_ONCE = 128  # pointers that one launch takes: a kernel has 4 KB of arguments


def launch_config(rows: int, channels: int) -> tuple[int, dict[str, int]]:
    """Return (programs, options) of a pass that writes: four elements a thread.

    That is the widest load for float32; four inputs are on their way at once. With a limit stated
    ptxas does not spill a few registers to fit one more program on a multiprocessor.
    """
    blocks, options = _blocks(rows, channels, elements=512)
    return blocks, {**options, "unroll": 4, "maxnreg": 96}


def sums_config(rows: int, channels: int, inputs: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Return ((programs, groups), options) of the pass that sums: 16 elements a thread.

    A bounded number of programs writes few partial sums; groups of inputs fill the device where
    there are few blocks.
    """
    blocks, options = _blocks(rows, channels, elements=2048)
    programs = min(blocks, 512)
    return (programs, min(inputs + 1, triton.cdiv(2048, max(programs, 1)))), options


def _blocks(rows: int, channels: int, elements: int) -> tuple[int, dict[str, int]]:
    block_c = triton.next_power_of_2(channels)
    block = max(1, elements // block_c)
    sizes = {"channels": channels, "block": block, "block_c": block_c}
    return triton.cdiv(rows, block), {**sizes, "num_warps": 4, **LAUNCH_OPTIONS}


def mixed_sum_fused(
    inputs: Sequence[Tensor],
    weights: Tensor,
    statistics: Sequence[Tensor | None] | None,
    training: bool,
) -> Tensor:
    """See `sdedge.kernels.mixed_sum.mixed_sum`."""
    if statistics is None:
        statistics = [None] * len(inputs)
    with torch.cuda.device(weights.get_device()):  # triton launches on the current device
        y: Tensor = _MixedSum.apply(weights, statistics, training, *inputs)
    return y


class _MixedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,  # (K,)
        statistics: Sequence[Tensor | None],
        training: bool,
        *inputs: Tensor,
    ) -> Tensor:
        has_norm = [s is not None for s in statistics]
        form = torch.channels_last if any(has_norm) else torch.preserve_format
        y = torch.empty_like(inputs[0], memory_format=form)
        zs = [lay_out(z, y.stride()) for z in inputs]
        weights = weights.contiguous()
        channels = y.shape[1] if any(has_norm) else 1
        held = [None if s is None else s.to(torch.float32).contiguous() for s in statistics]
        z_addresses, s_addresses = _addresses([*zs, *held], y.device).view(2, len(zs))
        folded = _fold(s_addresses, weights, channels)
        mean, _, scale = folded
        rows = y.numel() // channels
        programs, options = launch_config(rows, channels)
        mixed_sum_fwd_kernel[(programs,)](
            z_addresses, mean, scale, y, rows, len(zs), aligned=_aligned(zs), **options
        )
        needs_weights, _, _, *needs = ctx.needs_input_grad
        ctx.normalised = [training and a and b for a, b in zip(has_norm, needs, strict=True)]
        kept = [z if needs_weights or n else None for z, n in zip(zs, ctx.normalised, strict=True)]
        ctx.stride, ctx.channels = y.stride(), channels
        ctx.save_for_backward(weights, folded, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("mixed_sum")
        weights, folded, *zs = ctx.saved_tensors
        needs_weights, _, _, *needs = ctx.needs_input_grad
        g = lay_out(g, ctx.stride)
        gzs = [torch.empty_like(g) if need else None for need in needs]
        normalised = any(ctx.normalised)
        read = [z if n else None for z, n in zip(zs, ctx.normalised, strict=True)]
        write_to, read_from, sum_over = _addresses([*gzs, *read, *zs], g.device).view(3, len(zs))
        aligned = _aligned([*gzs, *zs])
        rows = g.numel() // ctx.channels
        b = c = gw = None
        if needs_weights or normalised:
            b, c, gw = _sums(g, sum_over, aligned, weights, folded, normalised)
        if any(needs):
            programs, options = launch_config(rows, ctx.channels)
            mixed_sum_bwd_kernel[(programs,)](
                g,
                read_from if normalised else None,
                folded[2],
                b,
                c,
                write_to,
                rows,
                len(zs),
                aligned=aligned,
                **options,
            )
        gw = gw.to(weights.dtype) if needs_weights and gw is not None else None
        return gw, None, None, *gzs


def _addresses(tensors: Sequence[Tensor | None], device: torch.device) -> Tensor:
    """The addresses of tensors, 0 for None: (K,) int64."""
    addresses = torch.empty(len(tensors), dtype=torch.int64, device=device)
    for start in range(0, len(tensors), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        pointers = tuple(addresses if x is None else x for x in tensors[some])
        mixed_sum_address_kernel[(1,)](pointers, addresses, addresses[some], **LAUNCH_OPTIONS)
    return addresses


def _aligned(tensors: Sequence[Tensor | None]) -> bool:
    """Whether addresses allow the widest load."""
    return all(x.data_ptr() % 16 == 0 for x in tensors if x is not None)


def _fold(addresses: Tensor, weights: Tensor, channels: int) -> Tensor:
    """Mean, reciprocal deviation and scale of every input: (3, K, C)."""
    folded = torch.empty(3, len(weights), channels, dtype=torch.float32, device=weights.device)
    block_c = triton.next_power_of_2(channels)
    mixed_sum_fold_kernel[(len(weights),)](
        addresses, weights, *folded, channels=channels, block_c=block_c, **LAUNCH_OPTIONS
    )
    return folded


def _sums(
    g: Tensor,
    addresses: Tensor,  # (K,)
    aligned: bool,
    weights: Tensor,  # (K,)
    folded: Tensor,  # (3, K, C)
    normalised: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Coefficients b and c, each (K, C), if `normalised`; and the gradient of the weights."""
    mean, r, _ = folded
    inputs, channels = mean.shape
    rows = g.numel() // channels
    (programs, groups), options = sums_config(rows, channels, inputs)
    sums = torch.empty(inputs + 1, programs, channels, dtype=torch.float32, device=g.device)
    mixed_sum_sums_kernel[(programs, groups)](
        g, addresses, mean, sums, rows, inputs, aligned=aligned, **options
    )
    b, c = torch.empty_like(folded[:2]) if normalised else (None, None)
    gw = torch.empty_like(weights, dtype=torch.float32)
    mixed_sum_coefficients_kernel[(inputs,)](
        sums, mean, r, weights, b, c, gw, programs, max(rows, 1), **options
    )
    return b, c, gw
