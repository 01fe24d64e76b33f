"""Each operation: what it computes, its weights, its resolution, and that one table names it."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sdedge.errors import ConfigError
from sdedge.operations import (
    DARTS,
    DARTS_OPERATIONS,
    NAS_BENCH_201,
    NONE,
    get_operation,
    operations_of,
)
from sdedge.space.darts.operations import FactorizedReduce, relu_conv_bn

C = 6
CELL_OPERATIONS = [op.name for op in operations_of().values() if op.derivable]


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("name", CELL_OPERATIONS)
def test_the_channels_stay_and_the_resolution_is_divided_upwards(
    name: str, search: bool, stride: int, size: tuple[int, int]
) -> None:
    operation = get_operation(name).module(C, stride, search=search)
    y = operation(torch.randn(2, C, *size))
    assert y.shape == (2, C, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", CELL_OPERATIONS)
def test_batch_norm_is_affine_in_derived_networks_alone(name: str, stride: int) -> None:
    def norms(search: bool) -> list[nn.BatchNorm2d]:
        modules = get_operation(name).module(C, stride, search=search).modules()
        return [module for module in modules if isinstance(module, nn.BatchNorm2d)]

    assert not any(norm.affine for norm in norms(search=True))
    assert all(norm.affine for norm in norms(search=False))
    if "pool" in name:
        assert (len(norms(search=True)), len(norms(search=False))) == (1, 0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("max_pool_3x3", 0),
        ("avg_pool_3x3", 0),
        ("skip_connect", 0),
        ("sep_conv_3x3", 2 * (9 * C + C * C)),
        ("sep_conv_5x5", 2 * (25 * C + C * C)),
        ("sep_conv_7x7", 2 * (49 * C + C * C)),
        ("dil_conv_3x3", 9 * C + C * C),
        ("dil_conv_5x5", 25 * C + C * C),
        ("conv_7x1_1x7", 2 * 7 * C * C),
    ],
)
def test_the_number_of_weights_is_that_of_the_paper(name: str, weights: int) -> None:
    operation = get_operation(name).module(C, 1, search=True)
    assert sum(parameter.numel() for parameter in operation.parameters()) == weights
    assert (weights == 0) == (not get_operation(name).has_weights)


def test_every_operation_of_the_search_but_none_can_be_built() -> None:
    for name in DARTS_OPERATIONS[1:]:
        get_operation(name).module(C, 1, search=True)
    with pytest.raises(ConfigError, match="nothing to build"):
        get_operation("none").module(C, 1, search=True)


def test_average_pooling_leaves_the_padding_out() -> None:
    ones = torch.ones(1, C, 5, 5)
    pooled = get_operation("avg_pool_3x3").module(C, 1, search=False)(ones)
    assert torch.equal(pooled, ones)


def test_a_skip_at_stride_one_is_the_input_itself() -> None:
    x = torch.randn(2, C, 4, 4)
    assert get_operation("skip_connect").module(C, 1, search=True)(x) is x


@pytest.mark.parametrize(("kernel", "reach"), [(3, 2), (5, 4)])
def test_a_dilated_convolution_sees_every_second_pixel(kernel: int, reach: int) -> None:
    depthwise = next(
        layer
        for layer in get_operation(f"dil_conv_{kernel}x{kernel}")
        .module(1, 1, search=False)
        .modules()
        if isinstance(layer, nn.Conv2d)
    )
    nn.init.ones_(depthwise.weight)
    image = torch.zeros(1, 1, 13, 13)
    image[0, 0, 6, 6] = 1
    rows = depthwise(image)[0, 0].sum(dim=1).nonzero().flatten().tolist()
    assert rows == list(range(6 - reach, 6 + reach + 1, 2))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_separable_convolution_has_no_gaps(kernel: int) -> None:
    layers = get_operation(f"sep_conv_{kernel}x{kernel}").module(C, 1, search=True).modules()
    depthwise = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.groups == C]
    assert [layer.kernel_size for layer in depthwise] == [(kernel, kernel)] * 2
    assert [layer.dilation for layer in depthwise] == [(1, 1)] * 2


def test_the_stride_of_a_separable_convolution_is_in_its_first_half() -> None:
    strides = [
        layer.stride
        for layer in get_operation("sep_conv_3x3").module(C, 2, search=True).modules()
        if isinstance(layer, nn.Conv2d)
    ]
    assert strides == [(2, 2), (1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("size", [(6, 6), (5, 5), (5, 8), (4, 7)])
def test_a_factorized_reduction_reads_even_pixels_and_odd_ones(size: tuple[int, int]) -> None:
    reduce = FactorizedReduce(3, 5, affine=False).eval()
    reduce.bn = nn.Identity()  # type: ignore[assignment]
    x = torch.randn(2, 3, *size)
    positive = F.pad(x.relu(), (0, 2, 0, 2))  # beyond the border there is zero
    height, width = -(-size[0] // 2), -(-size[1] // 2)
    even = positive[:, :, 0::2, 0::2][:, :, :height, :width]
    odd = positive[:, :, 1::2, 1::2][:, :, :height, :width]
    expected = torch.cat(
        [
            torch.einsum("nchw,oc->nohw", even, reduce.conv_even.weight[:, :, 0, 0]),
            torch.einsum("nchw,oc->nohw", odd, reduce.conv_odd.weight[:, :, 0, 0]),
        ],
        dim=1,
    )
    assert reduce.conv_even.out_channels + reduce.conv_odd.out_channels == 5
    torch.testing.assert_close(reduce(x), expected)


def test_the_order_is_relu_convolution_norm() -> None:
    kinds = [type(layer) for layer in relu_conv_bn(3, 4, affine=True)]
    assert kinds == [nn.ReLU, nn.Conv2d, nn.BatchNorm2d]


ROOT = Path(__file__).parents[2]
TABLES = set((ROOT / "sdedge" / "operations").glob("*.py"))


def test_no_file_but_the_tables_names_an_operation() -> None:
    """What depends on an operation reads its record. `none` means other things as well."""
    names = {*operations_of(DARTS), *operations_of(NAS_BENCH_201), NAS_BENCH_201} - {NONE}
    names |= {"sep_conv", "dil_conv", "nor_conv", "max_pool", "avg_pool"}  # no prefixes either
    files = [file for room in ("sdedge", "kernels", "cli") for file in (ROOT / room).rglob("*.py")]
    assert set(files) > TABLES
    named = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for file in files
        if file not in TABLES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not named
