"""The supernet: its size, its resolutions, and the sum that a node is."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from sdedge.operations import DARTS_OPERATIONS
from sdedge.space.darts.cell import CELL_TYPES, EDGES, CellSpec, cell_specs, reduction_positions
from sdedge.space.darts.search_cell import MixedEdge, SearchCell
from sdedge.space.darts.supernet import WEIGHT_SHAPE, Supernet

NONE = DARTS_OPERATIONS.index("none")


def mixing_weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, *WEIGHT_SHAPE, generator=generator, dtype=torch.float64)
    return {
        name: row.softmax(dim=1).to(dtype).requires_grad_()
        for name, row in zip(CELL_TYPES, logits, strict=True)
    }


def tiny(cells: int = 3, classes: int = 3) -> Supernet:
    torch.manual_seed(0)
    return Supernet(channels=4, cells=cells, classes=classes, impl="reference")


@pytest.mark.parametrize(("classes", "weights"), [(10, 1_930_618), (100, 1_953_748)])
def test_the_published_supernet_has_the_published_number_of_weights(
    classes: int, weights: int
) -> None:
    with torch.device("meta"):
        supernet = Supernet(channels=16, cells=8, classes=classes)
    assert sum(parameter.numel() for parameter in supernet.parameters()) == weights
    assert supernet.feature_channels == 256
    edges = [module for module in supernet.modules() if isinstance(module, MixedEdge)]
    assert len(edges) == 8 * EDGES == 8 * 14
    assert all(len(edge) == len(DARTS_OPERATIONS) - 1 for edge in edges)


@pytest.mark.parametrize(
    ("cells", "positions"),
    [(8, {2, 5}), (20, {6, 13}), (14, {4, 9}), (3, {1, 2}), (5, {1, 3})],
)
def test_reductions_are_at_one_and_two_thirds(cells: int, positions: set[int]) -> None:
    assert reduction_positions(cells) == positions
    specs = cell_specs(c_stem=(48, 48), channels=16, cells=cells, multipliers=(4, 4))
    channels = 16
    for index, spec in enumerate(specs):
        channels *= 2 if index in positions else 1
        assert spec.reduction is (index in positions)
        assert spec.reduction_prev is (index - 1 in positions)
        assert spec.channels == channels


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (13, 10), (7, 16), (16, 16)])
def test_reduction_cells_halve_the_resolution_upwards(size: tuple[int, int]) -> None:
    supernet = tiny(cells=5)
    sizes: list[tuple[int, int]] = []
    for cell in supernet.cells:
        cell.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[2:])))
    output = supernet(torch.randn(2, 3, *size), mixing_weights())
    half = tuple(-(-side // 2) for side in size)
    quarter = tuple(-(-side // 2) for side in half)
    assert sizes == [size, half, half, quarter, quarter]
    assert output.logits.shape == (2, 3)
    assert output.features.shape == (2, 64, *quarter)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_a_node_is_the_weighted_sum_of_all_operations_on_all_earlier_nodes(cell_type: str) -> None:
    torch.manual_seed(0)
    spec = CellSpec(6, 8, 4, reduction=cell_type == "reduce", reduction_prev=False)
    cell = SearchCell(spec).double()
    weights = mixing_weights(torch.float64)[cell_type]
    s0 = torch.randn(2, spec.c_prev_prev, 8, 8, dtype=torch.float64)
    s1 = torch.randn(2, spec.c_prev, 8, 8, dtype=torch.float64)

    nodes = list(cell.preprocess(s0, s1))
    edges = [module for module in cell.edges if isinstance(module, MixedEdge)]
    edge = 0
    for node in range(2, 6):
        total = torch.zeros(())
        for source in range(node):
            outputs = {
                name: operation(nodes[source])
                for name, operation in zip(DARTS_OPERATIONS[1:], edges[edge], strict=True)
            }
            outputs["none"] = torch.zeros_like(outputs["skip_connect"])
            for index, name in enumerate(DARTS_OPERATIONS):
                total = total + weights[edge, index] * outputs[name]
            edge += 1
        nodes.append(total)
    assert edge == EDGES
    torch.testing.assert_close(cell(s0, s1, weights), torch.cat(nodes[2:], dim=1))


def gradients(
    supernet: Supernet, weights: Mapping[str, Tensor], x: Tensor
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Logits and features, and the gradient of every weight for a random upstream gradient."""
    output = supernet(x, weights)
    generator = torch.Generator().manual_seed(4)
    upstream = [
        torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype) for y in output
    ]
    torch.autograd.backward(output, upstream)
    named = {**dict(supernet.named_parameters()), **{f"alpha {n}": w for n, w in weights.items()}}
    return list(output), {name: p.grad for name, p in named.items() if p.grad is not None}


def test_float32_agrees_with_float64() -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 3, 9, 9)
    supernet = tiny(cells=4)
    outputs, grads = gradients(supernet, mixing_weights(), x)
    exact_outputs, exact_grads = gradients(
        tiny(cells=4).double(), mixing_weights(torch.float64), x.double()
    )
    assert grads.keys() == exact_grads.keys()
    assert len(grads) == len(list(supernet.parameters())) + len(CELL_TYPES)
    for y, exact in zip(outputs, exact_outputs, strict=True):
        assert (y - exact).norm() <= 1e-5 * exact.norm()
    for name, exact in exact_grads.items():
        assert (grads[name] - exact).norm() <= 1e-4 * exact.norm(), name


def test_the_weight_of_none_has_no_effect_and_no_gradient() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 3, 8, 8)
    supernet, weights = tiny(), mixing_weights()
    _, grads = gradients(supernet, weights, x)
    for name in CELL_TYPES:
        gradient = grads[f"alpha {name}"]
        assert torch.equal(gradient[:, NONE], torch.zeros(EDGES))
        assert (gradient[:, NONE + 1 :].abs().sum(dim=1) > 0).all()
    before = supernet(x, weights).logits
    with torch.no_grad():
        for weight in weights.values():
            weight[:, NONE] = 100.0
    assert torch.equal(supernet(x, weights).logits, before)


def test_cells_of_one_type_share_their_weights_and_other_cells_do_not_read_them() -> None:
    supernet, weights = tiny(cells=6), mixing_weights()
    seen: list[Tensor] = []
    for cell in supernet.cells:
        cell.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    supernet(torch.randn(2, 3, 8, 8), weights)
    types = ["reduce" if index in (2, 4) else "normal" for index in range(6)]
    assert all(weights[name] is given for name, given in zip(types, seen, strict=True))
