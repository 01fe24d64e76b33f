"""The networks of NAS-Bench-201: published sizes, and a fused supernet equal to the plain one."""

import random
import re
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from factories import supernets
from factories.supernets import DEVICE, FUSED, errors, is_removed, nas_bench_201_weights
from sdedge.errors import KernelError
from sdedge.kernels import Impl, chosen, dispatch
from sdedge.operations import NAS_BENCH_201, NAS_BENCH_201_OPERATIONS, Operation, register_operation
from sdedge.space.counting import Counts
from sdedge.space.nasbench201.cell import CELL_TYPE, EDGES, Nb201Cell, random_cell
from sdedge.space.nasbench201.counting import count_cell
from sdedge.space.nasbench201.derive import derive_cell
from sdedge.space.nasbench201.network import Nb201Network
from sdedge.space.nasbench201.search_cell import SearchCell
from sdedge.space.nasbench201.supernet import Nb201Supernet

NONE, SKIP, CONV1, CONV3, POOL = range(5)

WEIGHT_SHAPE = (6, 5)

Active = Sequence[Sequence[bool]]


def supernet(impl: Impl, dtype: torch.dtype, *, channels: int = 4, cells: int = 1) -> Nb201Supernet:
    torch.manual_seed(0)
    net = Nb201Supernet(channels=channels, cells_per_stage=cells, classes=3, impl=impl)
    return net.to(DEVICE, dtype, memory_format=torch.channels_last)


def results(
    net: Nb201Supernet,
    images: Tensor,
    active: Active | None = None,
    *,
    keep_zero_weight_grad: bool = False,
) -> dict[str, Tensor]:
    weights = nas_bench_201_weights(net.classifier.weight.dtype)
    rows = None if active is None else {CELL_TYPE: active}
    return supernets.results(
        net, images, weights, rows, keep_zero_weight_grad=keep_zero_weight_grad
    )


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("classes", "weights"), [(10, 1_692_826), (100, 1_698_676)])
def test_the_published_supernet_has_the_published_number_of_weights(
    classes: int, weights: int
) -> None:
    with torch.device("meta"):
        net = Nb201Supernet(classes=classes)
    assert sum(parameter.numel() for parameter in net.parameters()) == weights
    assert net.feature_channels == net.classifier.in_features == 64
    assert sum(isinstance(module, SearchCell) for module in net.modules()) == 15


@pytest.mark.parametrize(
    ("arch", "counts"),
    [
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
            "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            Counts(1_288_506, 184_730_240),
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
            "|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            Counts(1_531_546, 220_119_680),
        ),
        (
            "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
            "|skip_connect~0|skip_connect~1|skip_connect~2|",
            Counts(73_306, 7_783_040),
        ),
    ],
)
def test_counts_equal_the_published_ones(arch: str, counts: Counts) -> None:
    assert count_cell(Nb201Cell.from_arch(arch)) == counts


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_those_of_what_really_runs(seed: int) -> None:
    cell = random_cell(random.Random(seed))
    network = Nb201Network(cell, channels=4, cells_per_stage=2, classes=5).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(torch.zeros(1, 3, 14, 14))
    params = sum(parameter.numel() for parameter in network.parameters())
    counted = count_cell(cell, channels=4, cells_per_stage=2, classes=5, image_size=14)
    assert counted == Counts(params, flops.get_total_flops() // 2)


def operation(name: str, x: Tensor, modules: nn.Module) -> Tensor:
    """What the paper's section 2.1 says of each operation."""
    if name == "none":
        return torch.zeros_like(x)
    if name == "skip_connect":
        return x
    if name == "avg_pool_3x3":
        inside = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1) / inside
    _, conv, norm = modules.children()
    kernel, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    assert kernel.shape[-1] == (3 if name == "nor_conv_3x3" else 1)
    assert not list(norm.parameters())
    y = F.conv2d(x.relu(), kernel, bias, padding="same")
    return F.batch_norm(y, None, None, training=True)


def test_a_node_is_the_weighted_sum_of_all_operations_on_all_earlier_nodes() -> None:
    net = supernet("reference", torch.float64)
    weights = nas_bench_201_weights(torch.float64)
    found: list[Tensor] = []
    cell = next(module for module in net.modules() if isinstance(module, SearchCell))
    cell.register_forward_hook(lambda _, inputs, output: found.extend((inputs[0], output)))
    net(images(3, 3, 8, 8).to(DEVICE, torch.float64), weights)
    x, output = found
    nodes = [x]
    for node in range(1, 4):
        nodes.append(
            sum(
                (
                    weights[CELL_TYPE][e, k]
                    * operation(name, nodes[source], cell.edges[e].get_submodule(str(k - 1)))
                    if k
                    else torch.zeros_like(x)
                )
                for e, (target, source) in enumerate(EDGES)
                for k, name in enumerate(NAS_BENCH_201_OPERATIONS)
                if target == node
            )
        )
    torch.testing.assert_close(output, nodes[3])


@pytest.mark.parametrize("impl", ["reference", "auto"])
def test_features_are_what_the_head_reads_before_its_batch_norm(impl: Impl) -> None:
    net = supernet(impl, torch.float32)
    logits, features = net(images(2, 3, 12, 10).to(DEVICE), nas_bench_201_weights(torch.float32))
    assert features.shape == (2, 16, 3, 3)
    assert (features < 0).any()
    norm = net.get_submodule("last.0")
    head = F.batch_norm(
        features, None, None, norm.get_parameter("weight"), norm.get_parameter("bias"), True
    )
    torch.testing.assert_close(logits, net.classifier(head.relu().mean(dim=(2, 3))))


@pytest.mark.parametrize(
    ("channels", "cells", "batch", "size"),
    [
        pytest.param(4, 1, 3, (8, 8), id="C=4"),
        pytest.param(8, 2, 2, (9, 7), id="C=8, odd sides"),
        pytest.param(5, 1, 4, (11, 12), id="C=5"),
    ],
)
@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_float64_agrees_to_rounding(
    channels: int, cells: int, batch: int, size: tuple[int, int]
) -> None:
    x = images(batch, 3, *size)
    plain = results(supernet("reference", torch.float64, channels=channels, cells=cells), x)
    fused = results(supernet("cpu", torch.float64, channels=channels, cells=cells), x)
    assert max(errors(fused, plain).values()) < 1e-11


def assert_as_accurate(fused_impl: Impl, channels: int, x: Tensor) -> None:
    exact = results(supernet("reference", torch.float64, channels=channels), x)
    plain = errors(results(supernet("reference", torch.float32, channels=channels), x), exact)
    fused = errors(results(supernet(fused_impl, torch.float32, channels=channels), x), exact)
    usual = sorted(plain.values())[len(plain) // 2]
    worse = {n: (fused[n], plain[n]) for n in plain if fused[n] > 5 * max(plain[n], usual)}
    assert not worse
    gradients = [name for name in plain if not name.endswith(" after")]
    assert sum(fused[n] for n in gradients) <= 2 * sum(plain[n] for n in gradients)


@pytest.mark.parametrize(("channels", "batch"), [(8, 5), (16, 3)])
def test_float32_is_as_accurate_as_the_plain_supernet(channels: int, batch: int) -> None:
    assert_as_accurate(FUSED, channels, images(batch, 3, 9, 8))


@pytest.mark.parametrize("partial", [1, 2, 4])
@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_extra_operations_and_partial_channels_agree_in_float64(partial: int) -> None:
    operations = (*NAS_BENCH_201_OPERATIONS, "auxiliary_skip")
    found = []
    for impl in ("reference", "cpu"):
        torch.manual_seed(0)
        net = Nb201Supernet(
            channels=8,
            cells_per_stage=1,
            classes=3,
            impl=impl,
            operations=operations,
            partial=partial,
        ).double()
        weights = torch.rand(6, 6, generator=torch.Generator().manual_seed(3)).double()
        weights.requires_grad_()
        output = net(images(3, 3, 8, 8).double(), {CELL_TYPE: weights})
        loss = (output.features * images(*output.features.shape)).sum() + output.logits[:, 0].sum()
        leaves = {"mixing": weights, **dict(net.named_parameters())}
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        given = {n: g for n, g in zip(leaves, gradients, strict=True) if g is not None}
        found.append({**output._asdict(), **given})
        if partial == 1:  # else what goes past the operations counts as much as the whole edge
            assert not given["mixing"][:, 0].any()
        assert given["mixing"][:, 5].all()
    plain, fused = found
    assert {name for name in plain if not is_removed(name)} == set(fused)
    for name, value in fused.items():
        torch.testing.assert_close(value, plain[name], msg=name)


def test_an_auxiliary_skip_adds_the_source_to_the_node() -> None:
    torch.manual_seed(0)
    net = Nb201Supernet(
        channels=4,
        cells_per_stage=1,
        classes=3,
        operations=(*NAS_BENCH_201_OPERATIONS, "auxiliary_skip"),
    ).double()
    one = torch.zeros(6, 6, dtype=torch.float64)
    one[:, 5] = 0.5
    other = torch.zeros(6, 6, dtype=torch.float64)
    other[:, NAS_BENCH_201_OPERATIONS.index("skip_connect")] = 0.5
    x = images(2, 3, 8, 8).double()
    net.eval()
    torch.testing.assert_close(net(x, {CELL_TYPE: one}), net(x, {CELL_TYPE: other}))


def test_skips_pass_through_dropout_in_training_alone() -> None:
    net = supernet("auto", torch.float32)
    weights = {CELL_TYPE: torch.eye(5)[[1] * 6].to(DEVICE)}
    x = images(2, 3, 8, 8).to(DEVICE, torch.float32)
    share = torch.tensor(0.5, device=DEVICE)
    dropped, whole = (net(x, weights, skip_dropout=s).features for s in (share, None))
    assert float((dropped == 0).float().mean()) > float((whole == 0).float().mean())
    net.eval()
    torch.testing.assert_close(net(x, weights, skip_dropout=share), net(x, weights))


@pytest.mark.parametrize("impl", ["reference", "auto"])
def test_a_bias_that_batch_norm_takes_out_has_no_gradient_but_moves_the_running_mean(
    impl: Impl,
) -> None:
    dtype = torch.float64 if DEVICE.type == "cpu" else torch.float32
    net = supernet(impl, dtype)
    for name, parameter in net.named_parameters():
        if is_removed(name):
            torch.nn.init.constant_(parameter, 100.0)
    found = results(net, images(3, 3, 8, 8))
    biases = [gradient for name, gradient in found.items() if is_removed(name)]
    assert len(biases) == 3 * 6 * 2
    assert max(float(gradient.abs().max()) for gradient in biases) < 1e-3
    means = [b for name, b in net.named_buffers() if "edges" in name and name.endswith("_mean")]
    assert len(means) == len(biases)
    assert all(((mean > 5) & (mean < 15)).all() for mean in means), "a tenth of the way to 100"


@pytest.mark.slow
def test_triton_kernels_agree() -> None:
    assert_as_accurate("triton", 2, images(3, 3, 6, 5))


ROWS = {
    "one each": [SKIP, CONV1, POOL, CONV3, POOL, CONV1],
    "none among them": [CONV3, NONE, SKIP, NONE, CONV1, NONE],
    "nothing into a node": [CONV1, NONE, NONE, POOL, SKIP, CONV3],
    "no convolution": [SKIP, SKIP, POOL, POOL, POOL, SKIP],
}


@pytest.mark.parametrize("keep_zero_weight_grad", [False, True])
@pytest.mark.parametrize("kept", ROWS.values(), ids=ROWS.keys())
def test_operations_can_be_masked_out(kept: list[int], keep_zero_weight_grad: bool) -> None:
    active = [[k == row for k in range(len(NAS_BENCH_201_OPERATIONS))] for row in kept]
    x = images(2, 3, 8, 8)
    plain = results(
        supernet("reference", torch.float64), x, active, keep_zero_weight_grad=keep_zero_weight_grad
    )
    fused_impl: Impl = "auto" if DEVICE.type == "cuda" else "cpu"
    fused = results(
        supernet(fused_impl, torch.float64), x, active, keep_zero_weight_grad=keep_zero_weight_grad
    )
    assert max(errors(fused, plain).values()) < 1e-11
    idle = ~torch.tensor(active, device=DEVICE)
    assert not plain[f"mixing {CELL_TYPE}"][idle].any()


def test_a_cut_cell_still_runs_and_scalars_give_each_zero_weight_a_gradient() -> None:
    """GDAS may draw `none` on all edges of a node, and its weights must learn from that."""
    weights = torch.zeros(WEIGHT_SHAPE, device=DEVICE)
    weights[:, NONE] = 1
    weights.requires_grad_()
    active = {CELL_TYPE: weights.detach().ne(0).tolist()}
    output = supernet("auto", torch.float32)(
        images(2, 3, 8, 8).to(DEVICE), {CELL_TYPE: weights}, active, keep_zero_weight_grad=True
    )
    assert not output.features.any()
    (gradient,) = torch.autograd.grad(output.features.sum(), [weights])
    assert not gradient[:, NONE].any()
    assert (gradient[3:, NONE + 1 :] == output.features.numel()).all()  # into the last node


@pytest.mark.parametrize("impl", ["reference", "auto"])
def test_the_weight_of_none_has_no_effect_and_no_gradient(impl: Impl) -> None:
    net, weights = supernet(impl, torch.float32), nas_bench_201_weights(torch.float32)
    x = images(2, 3, 8, 8).to(DEVICE)
    before = net(x, weights).logits
    (gradient,) = torch.autograd.grad(before.sum(), [weights[CELL_TYPE]])
    assert not gradient[:, NONE].any()
    assert gradient[:, NONE + 1 :].all()
    with torch.no_grad():
        weights[CELL_TYPE][:, NONE] = 100.0
    assert torch.equal(net(x, weights).logits, before)


def test_evaluation_uses_the_running_statistics_and_the_bias() -> None:
    plain, fused = supernet("reference", torch.float32), supernet(FUSED, torch.float32)
    x, weights = images(4, 3, 8, 8).to(DEVICE), nas_bench_201_weights(torch.float32)
    for net in (plain, fused):
        for _ in range(2):
            net(x, weights)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith("bias") and "stages" in name:
                parameter += 1
    fused.load_state_dict(plain.state_dict())
    outputs = [net.eval()(x[:1], weights) for net in (plain, fused)]
    before = {name: buffer.clone() for name, buffer in fused.named_buffers()}
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    everything = [
        torch.autograd.grad(output.logits.sum(), [weights[CELL_TYPE], *net.parameters()])
        for output, net in zip(outputs, (plain, fused), strict=True)
    ]
    for a, b in zip(*everything, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in fused.named_buffers())


def test_a_frozen_supernet_still_gives_the_gradient_of_alpha() -> None:
    gradients = []
    for frozen in (False, True):
        net, weights = supernet(FUSED, torch.float32), nas_bench_201_weights(torch.float32)
        net.requires_grad_(not frozen)
        loss = net(images(2, 3, 8, 8).to(DEVICE), weights).logits.square().sum()
        gradients += torch.autograd.grad(loss, [weights[CELL_TYPE]])
    assert torch.equal(*gradients)


def test_the_default_is_the_fused_supernet_and_reference_the_plain_one() -> None:
    routes: list[tuple[Impl, str]] = [("auto", FUSED), ("reference", "reference")]
    for impl, route in routes:
        dispatch.reset()
        supernet(impl, torch.float32)(
            images(2, 3, 8, 8).to(DEVICE), nas_bench_201_weights(torch.float32)
        )
        assert chosen() == {"supernet": route, "mixed_sum": route}


def test_one_value_a_channel_is_refused_in_training() -> None:
    with pytest.raises((KernelError, ValueError), match=r"values? (a|per) channel"):
        supernet("auto", torch.float32)(
            images(1, 3, 4, 4).to(DEVICE), nas_bench_201_weights(torch.float32)
        )


def test_derivation_takes_the_strongest_operation_and_none_counts() -> None:
    weights = torch.full(WEIGHT_SHAPE, 0.1)
    for edge, number in enumerate([CONV3, NONE, POOL, SKIP, CONV1]):
        weights[edge, number] = 0.6
    assert derive_cell({CELL_TYPE: weights}).operations == (
        "nor_conv_3x3",
        "none",
        "avg_pool_3x3",
        "skip_connect",
        "nor_conv_1x1",
        "none",  # all weigh the same: the lower index
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_derived_network_computes_its_operations_and_no_other(seed: int) -> None:
    """At unit scale and no shift, affine batch norm is the supernet's, with one-hot weights."""
    cell = random_cell(random.Random(seed))
    places = [
        (e, NAS_BENCH_201_OPERATIONS.index(name) - 1) for e, name in enumerate(cell.operations)
    ]
    kept = [place for place in places if place[1] >= 0]
    network = Nb201Network(cell, channels=4, cells_per_stage=1, classes=3).double()
    net = Nb201Supernet(channels=4, cells_per_stage=1, classes=3, impl="reference").double()
    renamed = {
        re.sub(r"operations\.(\d+)", lambda n: "edges.{}.{}".format(*kept[int(n[1])]), key): value
        for key, value in network.state_dict().items()
    }
    missing, _ = net.load_state_dict(renamed, strict=False)
    assert all(".edges." in name for name in missing)
    one_hot = torch.zeros(WEIGHT_SHAPE, dtype=torch.float64)
    for edge, number in places:
        one_hot[edge, number + 1] = 1
    x = images(3, 3, 8, 8).double()
    torch.testing.assert_close(network(x), net(x, {CELL_TYPE: one_hot}).logits)


def test_a_cell_of_none_makes_a_network_that_ignores_the_image() -> None:
    network = Nb201Network(Nb201Cell(("none",) * 6), channels=4, cells_per_stage=1, classes=3)
    scores = network(images(4, 3, 8, 8))
    assert torch.equal(scores, scores[:1].expand_as(scores))
    scores.sum().backward()


def test_an_operation_without_a_fused_form_runs_as_the_module_that_it_is() -> None:
    toy = Operation(
        name="toy", label="toy", short="toy", group="pooling", build=max_pool, has_weights=False
    )
    with register_operation(toy, NAS_BENCH_201):
        names = ("none", "nor_conv_3x3", "toy")
        weights = torch.rand(len(EDGES), 3, dtype=torch.float64, device=DEVICE)
        outputs, x = [], images(2, 3, 8, 8)
        for impl in ("reference", "cpu"):
            torch.manual_seed(0)
            net = Nb201Supernet(channels=4, cells_per_stage=1, impl=impl, operations=names)
            outputs.append(net.to(DEVICE).double()(x.to(weights), {CELL_TYPE: weights}))
    assert bool(torch.allclose(outputs[0].logits, outputs[1].logits, rtol=0, atol=1e-11))
    assert chosen()["operation toy"] == "reference"


def max_pool(channels: int, stride: int, *, search: bool) -> nn.Module:
    """A toy operation."""
    return nn.MaxPool2d(3, stride=stride, padding=1)
