"""Channels past the operations: which go there, and that they come back to their places."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from factories.supernets import DEVICE, darts_weights, errors, nas_bench_201_weights, results
from sdedge.errors import ConfigError
from sdedge.kernels import Impl
from sdedge.space.bypass import (
    AttendedChannels,
    ChannelAttention,
    ChannelSplit,
    Edges,
    FirstChannels,
    Source,
    split_channels,
)
from sdedge.space.darts.search_cell import SearchCell
from sdedge.space.darts.supernet import Supernet
from sdedge.space.nasbench201.supernet import Nb201Supernet

CHANNELS, PARTIAL = 8, 4


def attended(sources: int = 1) -> AttendedChannels:
    torch.manual_seed(0)
    split = AttendedChannels(CHANNELS, PARTIAL, sources).double()
    for weight in split.parameters():
        nn.init.normal_(weight)
    return split


def state(seed: int = 1, size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, CHANNELS, size, size, generator=generator, dtype=torch.float64)
    return x + torch.randn(3, CHANNELS, 1, 1, generator=generator, dtype=torch.float64)


def test_attention_is_the_sigmoid_of_what_shared_layers_make_of_means_and_maxima() -> None:
    attention, x = ChannelAttention(CHANNELS, 2).double(), state()
    first, _, second = attention.layers
    assert first.weight.shape == (2, CHANNELS)
    expected = torch.zeros(3, CHANNELS, dtype=torch.float64)
    for pooled in (x.mean(dim=(2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)):
        expected += (pooled @ first.weight.T).relu() @ second.weight.T
    torch.testing.assert_close(attention(x), 1 / (1 + (-expected).exp()))


def test_operations_read_the_channels_of_the_highest_mean_scores_times_each_images_score() -> None:
    split, x = attended(), state(seed=2)
    scores = split.attentions[0](x)
    chosen = sorted(scores.mean(dim=0).topk(CHANNELS // PARTIAL).indices.tolist())
    others = [c for c in range(CHANNELS) if c not in chosen]
    source = split.read(x, 0)
    expected = torch.stack([scores[:, c, None, None] * x[:, c] for c in chosen], dim=1)
    torch.testing.assert_close(source.active, expected)
    assert torch.equal(source.bypassed, x[:, others])
    # The case is one in which images differ from the batch, and the best channel is the later one.
    assert scores.mean(dim=0).argmax() == max(chosen)
    assert any(sorted(s.topk(2).indices.tolist()) != chosen for s in scores)


def joined(
    split: ChannelSplit, states: list[Tensor], strides: list[int], weights: Tensor
) -> Tensor:
    """With operations that give what they read, times the sum of their weights."""
    sources = [split.read(x, number) for number, x in enumerate(states)]
    edges = Edges(range(len(states)), sources, strides, weights)

    def mixed(some: range) -> Tensor:
        parts = [
            weights[e].sum() * sources[e].active[:, :, :: strides[e], :: strides[e]] for e in some
        ]
        return torch.stack(parts).sum(dim=0)

    return split.join(edges, mixed)


def test_every_channel_comes_back_to_its_place_from_every_source() -> None:
    split, states = attended(sources=3), [state(seed) for seed in (1, 2, 3)]
    weights = torch.rand(3, 5, dtype=torch.float64)
    expected, choices = torch.zeros_like(states[0]), set()
    for number, x in enumerate(states):
        scores = split.attentions[number](x)
        factor = torch.ones_like(scores)
        chosen = scores.mean(dim=0).topk(2).indices
        factor[:, chosen] = scores[:, chosen]
        expected += weights[number].sum() * factor[:, :, None, None] * x
        choices.add(tuple(sorted(chosen.tolist())))
    assert len(choices) > 1, "sources of one choice would not tell them apart"
    torch.testing.assert_close(joined(split, states, [1, 1, 1], weights), expected)


def test_past_an_edge_of_stride_2_channels_are_pooled() -> None:
    split, x = attended(), state(size=5)
    source = split.read(x, 0)
    weights = torch.rand(1, 5, dtype=torch.float64)
    node = joined(split, [x], [2], weights)
    pooled = F.max_pool2d(x, 2, ceil_mode=True)
    past = [
        c
        for c in range(CHANNELS)
        if any(torch.equal(x[:, c], p) for p in source.bypassed.unbind(1))
    ]
    assert len(past) == 6
    torch.testing.assert_close(node[:, past], weights.sum() * pooled[:, past])


def test_the_first_channels_go_through_and_all_are_shuffled() -> None:
    x, weights = state(), torch.rand(1, 5, dtype=torch.float64)
    node = joined(FirstChannels(CHANNELS, PARTIAL, 1), [x], [1], weights)
    torch.testing.assert_close(node, weights.sum() * nn.functional.channel_shuffle(x, PARTIAL))


def test_where_operations_read_all_channels_there_is_nothing_to_split() -> None:
    split, x = split_channels(AttendedChannels, CHANNELS, 1, sources=2), state()
    assert type(split) is ChannelSplit
    assert not list(split.parameters())
    assert split.read(x, 0).active is x
    assert split.read(x, 0).bypassed.shape[1] == 0


@pytest.mark.parametrize("split", [FirstChannels, AttendedChannels])
def test_channels_that_cannot_be_split_are_refused(split: type[ChannelSplit]) -> None:
    for network in (Supernet, Nb201Supernet):
        with pytest.raises(ConfigError, match="channels is 6; it must be a multiple of 4"):
            network(channels=6, partial=4, split=split)


def test_the_choice_never_waits_for_the_device() -> None:
    """Tensors on the meta device have no values that could be waited for."""
    split = AttendedChannels(CHANNELS, PARTIAL, 1).to("meta")
    x = torch.empty(3, CHANNELS, 6, 6, device="meta")
    weights = torch.empty(1, 5, device="meta")
    assert joined(split, [x], [1], weights).shape == x.shape


def test_chosen_channels_lie_as_the_kernels_read_them() -> None:
    source: Source = attended().read(state(), 0)
    assert source.active.is_contiguous(memory_format=torch.channels_last)
    assert source.bypassed.is_contiguous(memory_format=torch.channels_last)


def test_a_cell_puts_each_edge_in_order_and_adds_them() -> None:
    torch.manual_seed(0)
    net = Supernet(channels=8, cells=3, partial=4, split=AttendedChannels, impl="reference")
    cell = next(
        c for c in net.double().eval().cells if isinstance(c, SearchCell) and 2 in c.strides
    )
    weights = torch.rand(14, 8, dtype=torch.float64)
    inputs = [
        torch.randn(3, stage[1].in_channels, 8, 8, dtype=torch.float64)
        for stage in (cell.preprocess.prev_prev, cell.preprocess.prev)
    ]
    states, e = list(cell.preprocess(*inputs)), 0
    for _ in range(4):
        total: Tensor | float = 0.0
        for number, x in enumerate(list(states)):
            scores = cell.split.attentions[number](x)
            chosen = scores.mean(dim=0).topk(x.shape[1] // 4).indices.sort().values
            read = x[:, chosen] * scores[:, chosen, None, None]
            pooled = x if cell.strides[e] == 1 else F.max_pool2d(x, 2)
            node = weights[e].sum() * pooled
            outputs = zip(weights[e, 1:], cell.edges[e](read), strict=True)
            node[:, chosen] = torch.stack([w * y for w, y in outputs]).sum(dim=0)
            total = total + node
            e += 1
        states.append(torch.as_tensor(total))
    torch.testing.assert_close(cell(*inputs, weights), torch.cat(states[-4:], dim=1))


def darts(impl: Impl, size: tuple[int, int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = Supernet(channels=8, cells=3, classes=3, impl=impl, partial=4, split=AttendedChannels)
    return outcome(net, size, darts_weights(torch.float64))


def nas_bench_201(impl: Impl, size: tuple[int, int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = Nb201Supernet(
        channels=8, cells_per_stage=1, classes=3, impl=impl, partial=4, split=AttendedChannels
    )
    return outcome(net, size, nas_bench_201_weights(torch.float64))


def outcome(net: nn.Module, size: tuple[int, int], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    net.to(DEVICE, torch.float64, memory_format=torch.channels_last)
    torch.manual_seed(1)
    return results(net, torch.randn(3, 3, *size), weights)


@pytest.mark.parametrize("results_of", [darts, nas_bench_201])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_the_fused_supernet_attends_as_the_plain_one(
    results_of: Callable[..., dict[str, Any]], size: tuple[int, int]
) -> None:
    plain, fused = (results_of(impl, size) for impl in ("reference", "cpu"))
    assert max(errors(fused, plain).values()) < 1e-11
    learnt = [name for name in plain if ".attentions." in name]
    assert learnt
    assert sum(bool(plain[name].any()) for name in learnt) > 0.9 * len(learnt)
