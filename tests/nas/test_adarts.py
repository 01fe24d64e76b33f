"""ADARTS: PC-DARTS's search, with channels that attention chooses."""

import pytest
import torch

from factories.bilevel import batches, build
from sdedge.errors import ConfigError
from sdedge.nas.strategies import STRATEGIES, get_strategy
from sdedge.space.bypass import AttendedChannels, ChannelAttention
from sdedge.space.darts.supernet import Supernet
from sdedge.space.spaces import SPACES


def test_it_is_pc_darts_but_for_the_choice_of_channels() -> None:
    adarts, pc_darts = STRATEGIES["adarts"], STRATEGIES["pc-darts"]
    assert adarts.settings == pc_darts.settings
    assert (adarts.partial, adarts.relax) == (4, pc_darts.relax)
    assert adarts.split is AttendedChannels
    assert pc_darts.split is not AttendedChannels


def test_every_cell_has_an_attention_for_each_source_and_nothing_else_is_new() -> None:
    with torch.device("meta"):
        supernet = Supernet(channels=16, cells=8, partial=4, split=AttendedChannels)
    attentions = [module for module in supernet.modules() if isinstance(module, ChannelAttention)]
    assert len(attentions) == 8 * 5
    scored = sum(weight.numel() for attention in attentions for weight in attention.parameters())
    # Two matrices of C x C/4 for each source of 2, 3 and 3 cells of 16, 32 and 64 channels.
    assert scored == 5 * 2 * (2 * 16 * 4 + 3 * 32 * 8 + 3 * 64 * 16)
    assert sum(weight.numel() for weight in supernet.parameters()) == 299_578 + scored


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_a_weight_step_moves_the_attentions_and_an_alpha_step_does_not(
    space: str, impl: str
) -> None:
    bilevel = build("adarts", "classification", space=space, impl=impl, channels=8)
    train, search = batches(bilevel)
    weights = [
        weight
        for module in bilevel.supernet.modules()
        if isinstance(module, ChannelAttention)
        for weight in module.parameters()
    ]
    before = [weight.detach().clone() for weight in weights]
    bilevel.alpha_step(train, search)
    assert all(map(torch.equal, weights, before))
    bilevel.weight_step(train)
    moved = sum(not torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    assert moved == len(weights) > 0


def test_it_combines_as_pc_darts_does() -> None:
    assert get_strategy("adarts+beta").split is AttendedChannels
    for name in ("adarts+pc-darts", "gdas+adarts", "adarts+snas", "adarts+darts-minus"):
        with pytest.raises(ConfigError, match="not combine"):
            get_strategy(name)
