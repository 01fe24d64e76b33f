"""Channels that go past the operations of an edge: which ones, and how they join what comes out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.errors import ConfigError
from sdedge.kernels import mixed_sum


class Source(NamedTuple):
    """A state (N, C, H, W) in the parts that its edges treat differently."""

    active: Tensor  # (N, C/K, H, W): what operations read
    bypassed: Tensor  # (N, C - C/K, H, W): what goes past them
    # (C,): where each channel is in these two; None: in their order.
    inverse_permutation: Tensor | None = None


class Edges(NamedTuple):
    """The edges that enter a node, one from each source."""

    numbers: range
    sources: Sequence[Source]
    strides: Sequence[int]  # of all edges of the cell
    weights: Tensor  # (edges of the cell, operations)

    @property
    def own_weights(self) -> Tensor:
        """What channels past each edge carry, (edges,): the sum of its operations' weights."""
        return self.weights[self.numbers.start : self.numbers.stop].sum(dim=1)

    @property
    def bypassed(self) -> list[Tensor]:
        """The channels past each edge, halved by 2x2 max pooling where operations halve them."""
        return [
            source.bypassed
            if self.strides[e] == 1
            else F.max_pool2d(source.bypassed, 2, ceil_mode=True)
            for source, e in zip(self.sources, self.numbers, strict=True)
        ]


class ChannelSplit(nn.Module):
    """Every channel goes through the operations, and none past them."""

    def __init__(self, channels: int, partial: int, sources: int) -> None:
        """Split states of `channels` channels, of which a cell reads `sources`.

        Raises ConfigError for channels that are no multiple of `partial`.
        """
        super().__init__()
        if channels % partial:
            raise ConfigError(f"channels is {channels}; it must be a multiple of {partial}")
        self.partial = partial
        self.kept = channels // partial

    def read(self, state: Tensor, number: int) -> Source:
        """Split the state (N, C, H, W) of that number in the cell."""
        return Source(state, state[:, self.kept :])

    def join(self, edges: Edges, mixed: Callable[[range], Tensor]) -> Tensor:
        """The node (N, C, H, W) that `edges` enter; `mixed` adds up the operations on some."""
        return mixed(edges.numbers)


class FirstChannels(ChannelSplit):
    """Operations read the first of K equal parts; all are shuffled then (PC-DARTS, section 3.2)."""

    def read(self, state: Tensor, number: int) -> Source:
        """The first part, and the others."""
        return Source(state[:, : self.kept], state[:, self.kept :])

    def join(self, edges: Edges, mixed: Callable[[range], Tensor]) -> Tensor:
        """What operations made, and what went past them, shuffled."""
        bypassed = mixed_sum(edges.bypassed, edges.own_weights, impl="reference")
        return _shuffled(torch.cat([mixed(edges.numbers), bypassed], dim=1), self.partial)


class AttendedChannels(ChannelSplit):
    """Operations read the C/K channels that channel attention scores highest (ADARTS).

    Each source of a cell has an attention of its own, shared by the edges that leave it. Channels
    are chosen by their mean score, so that all images of a batch share one choice, and enter the
    operations in their usual order, each times its score in the image: so the attention learns.
    What comes out takes the places of the channels that went in, because those past the operations
    would else change places, and their meaning for the next cell, with every batch.
    """

    def __init__(self, channels: int, partial: int, sources: int) -> None:
        super().__init__(channels, partial, sources)
        self.attentions = nn.ModuleList(
            ChannelAttention(channels, self.kept) for _ in range(sources)
        )

    def read(self, state: Tensor, number: int) -> Source:
        """The channels of the highest scores, weighed by them, and the others as they are."""
        scores = self.attentions[number](state)
        ranked = scores.detach().mean(dim=0).argsort(descending=True, stable=True)
        chosen, others = ranked[: self.kept].sort().values, ranked[self.kept :].sort().values
        active = _selected(state, chosen) * scores.index_select(1, chosen)[:, :, None, None]
        return Source(active, _selected(state, others), torch.cat([chosen, others]).argsort())

    def join(self, edges: Edges, mixed: Callable[[range], Tensor]) -> Tensor:
        """The sum of the edges, each put in order first: every source has its own choice."""
        numbers = edges.numbers
        whole = [
            _selected(
                torch.cat([mixed(numbers[i : i + 1]), weight * bypassed], dim=1),
                source.inverse_permutation,
            )
            for i, (source, bypassed, weight) in enumerate(
                zip(edges.sources, edges.bypassed, edges.own_weights, strict=True)
            )
        ]
        return sum(whole[1:], whole[0])


def split_channels(
    split: type[ChannelSplit], channels: int, partial: int, *, sources: int
) -> ChannelSplit:
    """The split of a cell; where operations read all channels there is none, whatever was asked."""
    return (split if partial > 1 else ChannelSplit)(channels, partial, sources)


class ChannelAttention(nn.Module):
    """A score in (0, 1) for each channel of each image: (N, C, H, W) -> (N, C).

    The sigmoid of the sum of what two linear layers, with a ReLU between them and without biases,
    make of the channels' means and of their maxima.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Score the channels of x: (N, C, H, W)."""
        scores: Tensor = self.layers(x.mean(dim=(2, 3))) + self.layers(x.amax(dim=(2, 3)))
        return scores.sigmoid()


def _selected(x: Tensor, channels: Tensor | None) -> Tensor:
    """Some channels of x: (N, C, H, W), dense in channels-last order; None: x as it is."""
    if channels is None:
        return x
    return x.permute(0, 2, 3, 1).index_select(3, channels).permute(0, 3, 1, 2)


def _shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels shuffled so that each group has one of each former group in turn."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
