"""Affine-free batch norm in pieces: statistics, what they fold into, and its backward pass.

A fused operator reads raw values and per-channel numbers, and never sees a normalised tensor:
forward is scale * z + shift, backward a * g + b * z + c (Ioffe and Szegedy, 2015, section 3).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.channels_last import channels_last
from sdedge.kernels.channels_last import statistics as cpu_statistics

EPS = 1e-5  # of nn.BatchNorm2d


def batch_statistics(z: Tensor) -> Tensor:
    """Mean and biased variance of each channel, without a gradient: (N, C, H, W) -> (2, C)."""
    z = z.detach()
    if z.device.type == "cpu":
        return cpu_statistics(channels_last(z.to(statistics_dtype(z))))
    variance, mean = torch.var_mean(z.to(statistics_dtype(z)), dim=(0, 2, 3), correction=0)
    return torch.stack((mean, variance))


def statistics_dtype(z: Tensor) -> torch.dtype:
    """The dtype to sum in: float32, or float64 for float64."""
    return torch.promote_types(z.dtype, torch.float32)


def normalise(z: Tensor, statistics: Tensor, *, training: bool) -> Tensor:
    """Batch norm in plain torch: (N, C, H, W) -> (N, C, H, W).

    In training the statistics are z's own, and the gradient knows it; else they are constants.
    """
    if training:
        return F.batch_norm(z, None, None, training=True, eps=EPS)
    mean, variance = statistics.to(z.dtype)
    return F.batch_norm(z, mean, variance, training=False, eps=EPS)


def reciprocal_deviation(statistics: Tensor) -> Tensor:
    """1 / sqrt(variance + eps): (..., 2, C) -> (..., C)."""
    return (statistics[..., 1, :] + EPS).rsqrt()


class Backward(NamedTuple):
    """Of w * batch_norm(z), given the gradient g of the result: dz = a * g + b * z + c."""

    a: Tensor  # (..., C)
    b: Tensor  # (..., C)
    c: Tensor  # (..., C)
    weight: Tensor  # (...,), the gradient of w


def backward(
    statistics: Tensor,  # (..., 2, C)
    weights: Tensor,  # (...,), broadcast against the statistics
    sum_g: Tensor,  # (..., C), over batch and pixels
    sum_gz: Tensor,  # (..., C), of g * z
    count: int,  # values a channel
    *,
    training: bool,
) -> Backward:
    """The coefficients of the gradient; out of training the statistics are constants."""
    mean, r = statistics[..., 0, :], reciprocal_deviation(statistics)
    sum_gzhat = r * (sum_gz - mean * sum_g)
    a = weights[..., None] * r
    if not training:
        zero = torch.zeros_like(a)
        return Backward(a, zero, zero, sum_gzhat.sum(-1))
    b = -a * r * sum_gzhat / count
    return Backward(a, b, -a * sum_g / count - b * mean, sum_gzhat.sum(-1))
