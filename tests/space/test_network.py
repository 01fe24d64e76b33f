"""The derived network: its shape, drop path, and the auxiliary head."""

import pytest
import torch
from torch import Tensor, nn

from sdedge.errors import ConfigError
from sdedge.genotype import Genotype, published
from sdedge.space.darts.cell import cell_specs
from sdedge.space.darts.network import Cell, Network, check_auxiliary_size, drop_path

# Every edge of a cell is either a skip or a separable convolution.
MIXED = Genotype(
    normal=(("skip_connect", 0), ("sep_conv_3x3", 1)),
    normal_concat=(2,),
    reduce=(("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 2), ("sep_conv_3x3", 1)),
    reduce_concat=(2, 3),
)


def build(name: str = "DARTS_V2", *, cells: int = 3, **options: object) -> Network:
    torch.manual_seed(0)
    settings = {"channels": 4, "cells": cells, "classes": 5, **options}
    return Network(published()[name].genotype, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (13, 10)])
@pytest.mark.parametrize("name", ["DARTS_V2", "NASNet_A"])
def test_images_of_any_size_are_classified(name: str, size: tuple[int, int]) -> None:
    network = build(name, cells=5)
    assert network(torch.randn(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize(("stem", "first"), [("cifar", (16, 16)), ("imagenet", (2, 2))])
def test_the_imagenet_stem_works_at_an_eighth_of_the_resolution(
    stem: str, first: tuple[int, int]
) -> None:
    network = build(cells=5, stem=stem)
    sizes: list[tuple[int, ...]] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[1:])))
    network(torch.randn(2, 3, 16, 16))
    half = tuple(side // 2 for side in first)
    quarter = tuple(-(-side // 2) for side in half)
    assert sizes == [(16, *first), (32, *half), (32, *half), (64, *quarter), (64, *quarter)]


def test_the_stem_outputs_of_imagenet_are_a_quarter_and_an_eighth() -> None:
    s0, s1 = build(stem="imagenet").stem(torch.randn(2, 3, 224, 224))
    assert s0.shape == (2, 4, 56, 56)
    assert s1.shape == (2, 4, 28, 28)


def test_a_cell_is_as_wide_as_the_nodes_it_joins() -> None:
    network = build("NASNet_A", cells=4)  # five nodes in a normal cell, three in a reduction
    widths: list[int] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, output: widths.append(output.shape[1]))
    network(torch.randn(2, 3, 8, 8))
    assert widths == [5 * 4, 3 * 8, 3 * 16, 5 * 16]
    assert network.classifier.in_features == 5 * 16


def test_a_node_adds_its_two_operations_and_the_cell_joins_the_chosen_nodes() -> None:
    genotype = Genotype(
        normal=(("max_pool_3x3", 1), ("skip_connect", 0), ("avg_pool_3x3", 2), ("skip_connect", 1)),
        normal_concat=(3, 2),
        reduce=(("skip_connect", 0), ("skip_connect", 1)),
        reduce_concat=(2,),
    )
    cell = Network(genotype, channels=4, cells=3, classes=5).eval().cells[0]
    assert isinstance(cell, Cell)
    s0, s1 = torch.randn(2, 12, 6, 6), torch.randn(2, 12, 6, 6)
    a, b = cell.preprocess(s0, s1)
    node2 = nn.functional.max_pool2d(b, 3, 1, 1) + a
    node3 = nn.functional.avg_pool2d(node2, 3, 1, 1, count_include_pad=False) + b
    assert torch.equal(cell(s0, s1, 0.0), torch.cat([node3, node2], dim=1))


def test_drop_path_zeroes_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = 1 + torch.rand(20_000, 2, 2, 1)
    y = drop_path(x, 0.3)
    dropped = (y == 0).flatten(1)
    assert torch.equal(dropped.all(dim=1), dropped.any(dim=1))
    assert float(dropped[:, 0].double().mean()) == pytest.approx(0.3, abs=0.02)
    kept = ~dropped[:, 0]
    torch.testing.assert_close(y[kept], x[kept] / 0.7)
    assert float(y.mean()) == pytest.approx(float(x.mean()), rel=0.02)


def test_drop_path_at_zero_changes_nothing() -> None:
    x = torch.randn(8, 2, 3, 3)
    assert torch.equal(drop_path(x, 0.0), x)


def zero_samples(cell_index: int) -> list[int]:
    """How many of 64 samples are zero, by node, when nearly every path is dropped."""
    torch.manual_seed(0)
    spec = list(cell_specs(c_stem=(12, 12), channels=4, cells=3, multipliers=(1, 2)))[cell_index]
    edges, concat = (
        (MIXED.reduce, MIXED.reduce_concat)
        if spec.reduction
        else (MIXED.normal, MIXED.normal_concat)
    )
    s0, s1 = torch.randn(64, spec.c_prev_prev, 8, 8), torch.randn(64, spec.c_prev, 8, 8)
    nodes = Cell(spec, edges, concat)(s0, s1, 0.999).split(spec.channels, dim=1)
    return [int((node.flatten(1) == 0).all(dim=1).sum()) for node in nodes]


def test_convolutions_and_strided_skips_are_dropped_and_identities_are_not() -> None:
    assert zero_samples(0) == [0]
    assert min(zero_samples(1)) >= 60


def test_drop_path_acts_in_training_alone_and_changes_between_steps() -> None:
    network = build()
    x = torch.randn(16, 3, 8, 8)
    network.drop_path_probability = 0.5
    assert not torch.equal(network(x), network(x))
    network.drop_path_probability = 0.0
    assert torch.equal(network(x), network(x))
    network.drop_path_probability = 0.5
    network.eval()
    assert torch.equal(network(x), network(x))


def test_the_auxiliary_head_speaks_in_training_alone() -> None:
    network = build(auxiliary=True)
    x = torch.randn(2, 3, 32, 32)
    logits, auxiliary = network.forward_with_auxiliary(x)
    assert logits.shape == (2, 5)
    assert auxiliary is not None
    assert auxiliary.shape == (2, 5)
    assert network.eval().forward_with_auxiliary(x)[1] is None
    assert build().forward_with_auxiliary(x)[1] is None


def test_the_auxiliary_head_reads_the_cell_at_two_thirds() -> None:
    network = build(cells=6, auxiliary=True)
    seen: list[Tensor] = []
    network.cells[4].register_forward_hook(lambda _, __, output: seen.append(output))
    assert network.auxiliary is not None
    network.auxiliary.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.randn(2, 3, 32, 32))
    assert seen[0] is seen[1]


def test_the_auxiliary_head_has_the_published_weights() -> None:
    """1x1 to 128, 2x2 to 768, batch norms, and the classifier; ImageNet's lacks the second norm."""

    def weights(stem: str) -> int:
        network = build("DARTS_V2", stem=stem, auxiliary=True, classes=10)
        assert network.auxiliary is not None
        return sum(parameter.numel() for parameter in network.auxiliary.parameters())

    # After a third cell of 16 channels, four nodes wide.
    common = 64 * 128 + 2 * 128 + 4 * 128 * 768 + 768 * 10 + 10
    assert weights("cifar") == common + 2 * 768
    assert weights("imagenet") == common


@pytest.mark.parametrize(("stem", "smallest"), [("cifar", 29), ("imagenet", 193)])
def test_the_auxiliary_head_is_refused_just_where_it_cannot_run(stem: str, smallest: int) -> None:
    network = build(stem=stem, auxiliary=True)
    check_auxiliary_size(smallest, stem)  # type: ignore[arg-type]
    network(torch.randn(2, 3, smallest, smallest))
    with pytest.raises(ConfigError, match=rf"{smallest - 1} px.*--no-auxiliary"):
        check_auxiliary_size(smallest - 1, stem)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        network(torch.randn(2, 3, smallest - 1, smallest - 1))
