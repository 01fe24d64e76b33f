"""Channels that go past the operations of an edge (PC-DARTS, section 3.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.errors import ConfigError
from sdedge.kernels import mixed_sum


def check_partial(channels: int, partial: int) -> None:
    """Raise ConfigError for channels that cannot be split into `partial` equal parts."""
    if channels % partial:
        raise ConfigError(f"channels is {channels}; it must be a multiple of {partial}")


def operated(state: Tensor, partial: int) -> Tensor:
    """The channels that operations read: the first of `partial` equal parts of (N, C, H, W)."""
    return state if partial == 1 else state[:, : state.shape[1] // partial]


def with_bypass(
    node: Tensor, states: Sequence[Tensor], strides: Sequence[int], weights: Tensor
) -> Tensor:
    """The node (N, C/K, H, W) joined by the other channels of its sources, and shuffled.

    An edge that operations pass at stride 2 is halved by 2x2 max pooling. weights: (edges,
    operations); the channels past an edge carry the sum of its row, which is its own weight.
    """
    kept = node.shape[1]
    past = [
        state[:, kept:] if stride == 1 else F.max_pool2d(state[:, kept:], 2, ceil_mode=True)
        for state, stride in zip(states, strides, strict=True)
    ]
    bypassed = mixed_sum(past, weights.sum(dim=1), impl="reference")
    return shuffled(torch.cat([node, bypassed], dim=1), states[0].shape[1] // kept)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels dealt out anew, so that each group has one of each former group in turn."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
