"""The mixed sum of raw maps on the CPU: forward and backward touch each map once or twice."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdedge.kernels.batch_norm import backward, reciprocal_deviation
from sdedge.kernels.channels_last import add_scaled_, affine, channel_sums, channels_last, row
from sdedge.kernels.dispatch import refuse_second_derivative


def mixed_sum_cpu(
    inputs: Sequence[Tensor],
    weights: Tensor,
    statistics: Sequence[Tensor | None],
    training: bool,
) -> Tensor:
    """See `sdedge.kernels.mixed_sum.mixed_sum`."""
    y: Tensor = _MixedSum.apply(weights, statistics, training, *inputs)
    return y


class _MixedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        statistics: Sequence[Tensor | None],
        training: bool,
        *inputs: Tensor,
    ) -> Tensor:
        zs = [channels_last(z) for z in inputs]
        stacked, normalised = _stack(statistics, zs[0])
        scale = weights.to(zs[0].dtype)[:, None] * reciprocal_deviation(stacked)
        scale = torch.where(normalised[:, None], scale, weights[:, None])
        shift = torch.where(normalised[:, None], -stacked[:, 0] * scale, 0)
        scales = row(scale, zs[0])
        y = affine(zs[0], scales[0], row(shift.sum(0), zs[0]))
        for z, of_channel in zip(zs[1:], scales[1:], strict=True):
            add_scaled_(y, z, of_channel)
        ctx.training, ctx.normalised = training, normalised.tolist()
        keep = [
            ctx.needs_input_grad[0] or (training and has_norm and needed)
            for has_norm, needed in zip(ctx.normalised, ctx.needs_input_grad[3:], strict=True)
        ]
        ctx.save_for_backward(
            weights, stacked, scale, *(z if k else None for z, k in zip(zs, keep, strict=True))
        )
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("mixed_sum")
        weights, stacked, scale, *zs = ctx.saved_tensors
        g = channels_last(g)
        product = torch.empty_like(g)
        sum_g = channel_sums(g)
        sum_gz = torch.stack(
            [
                torch.zeros_like(sum_g) if z is None else channel_sums(torch.mul(g, z, out=product))
                for z in zs
            ]
        )
        count = g.numel() // g.shape[1]
        a, b, c, of_weights = backward(
            stacked, weights.to(g.dtype), sum_g, sum_gz, count, training=ctx.training
        )
        scales, a, b, c = row(torch.stack((scale, a, b, c)), g)
        gradients = [
            _gradient(g, z if has_norm and ctx.training else None, scale_k, a_k, b_k, c_k)
            if needed
            else None
            for needed, z, has_norm, scale_k, a_k, b_k, c_k in zip(
                ctx.needs_input_grad[3:], zs, ctx.normalised, scales, a, b, c, strict=True
            )
        ]
        if not ctx.needs_input_grad[0]:
            return None, None, None, *gradients
        has_norm = torch.tensor(ctx.normalised)
        of_weights = torch.where(has_norm, of_weights, sum_gz.sum(1)).to(weights.dtype)
        return of_weights, None, None, *gradients


def _gradient(
    g: Tensor, z: Tensor | None, scale: Tensor, a: Tensor, b: Tensor, c: Tensor
) -> Tensor:
    """a * g + b * z + c, or scale * g where no batch norm's statistics depend on the input."""
    if z is None:
        return affine(g, scale, torch.zeros_like(scale))
    gz = affine(z, b, c)
    add_scaled_(gz, g, a)
    return gz


def _stack(statistics: Sequence[Tensor | None], z: Tensor) -> tuple[Tensor, Tensor]:
    """Statistics (K, 2, C), zeros where there are none, and where there are some: (K,) of bool."""
    none = torch.zeros(2, z.shape[1], dtype=z.dtype)
    stacked = torch.stack([none if s is None else s.to(z.dtype) for s in statistics])
    return stacked, torch.tensor([s is not None for s in statistics])
