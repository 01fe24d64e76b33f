"""The fused supernet computes what the plain one does, from the same modules."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from factories import supernets
from factories.supernets import DEVICE, FUSED, darts_weights, errors
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import ConfigError, KernelError
from sdedge.events import Reporter
from sdedge.kernels import Impl, chosen, dispatch, separable
from sdedge.nas.phase import SearchPhase
from sdedge.nas.runner import run_search
from sdedge.operations import DARTS_OPERATIONS, Operation, get_operation, register_operation
from sdedge.run import RunDir, read_json
from sdedge.space.darts.cell import CELL_TYPES
from sdedge.space.darts.fused import separable_terms
from sdedge.space.darts.supernet import WEIGHT_SHAPE, Supernet
from sdedge.space.supernet import ActiveOperations


def supernet(
    impl: Impl, dtype: torch.dtype, *, channels: int = 8, cells: int = 3, **form: Any
) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(channels=channels, cells=cells, classes=3, impl=impl, **form)
    return net.to(DEVICE, dtype, memory_format=torch.channels_last)


def results(
    net: Supernet, images: Tensor, active: ActiveOperations | None = None
) -> dict[str, Tensor]:
    weights = darts_weights(next(net.parameters()).dtype, len(net.operations))
    return supernets.results(net, images, weights, active)


@pytest.mark.parametrize(
    ("channels", "cells", "batch", "size"),
    [
        pytest.param(8, 3, 3, (8, 8), id="C=8"),
        pytest.param(16, 3, 2, (9, 7), id="C=16, odd sides"),
        pytest.param(20, 3, 5, (8, 8), id="C=20"),
        pytest.param(8, 5, 7, (16, 16), id="five cells", marks=pytest.mark.slow),
    ],
)
@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_float64_agrees_to_rounding(
    channels: int, cells: int, batch: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    images = torch.randn(batch, 3, *size)
    plain = results(supernet("reference", torch.float64, channels=channels, cells=cells), images)
    fused = results(supernet("cpu", torch.float64, channels=channels, cells=cells), images)
    worst = max(errors(fused, plain).values())
    assert worst < 1e-11


AUXILIARY = (*DARTS_OPERATIONS, "auxiliary_skip")


@pytest.mark.parametrize(
    "form", [{"partial": 4}, {"operations": AUXILIARY}], ids=["partial channels", "auxiliary skip"]
)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_other_forms_of_an_edge_agree_to_rounding(
    form: dict[str, Any], size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    images = torch.randn(3, 3, *size)
    plain, fused = (
        results(supernet(impl, torch.float64, **form), images) for impl in ("reference", "cpu")
    )
    assert max(errors(fused, plain).values()) < 1e-11


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_weights_that_are_zero_get_the_gradient_of_a_scalar(impl: Impl) -> None:
    net = supernet(impl, torch.float64)
    soft = {
        n: torch.full(WEIGHT_SHAPE, 0.0, dtype=torch.float64, device=DEVICE) for n in CELL_TYPES
    }
    for matrix in soft.values():
        matrix[:, 4] = 1  # sep_conv_3x3
        matrix[0], matrix[1] = 0, 0  # the first node has nothing
        matrix[:2, 0] = 1
        matrix.requires_grad_()
    active = {name: matrix.detach().ne(0).tolist() for name, matrix in soft.items()}
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64, device=DEVICE)
    net(images, soft, active, keep_zero_weight_grad=True).logits.square().sum().backward()
    for matrix in soft.values():
        assert matrix.grad is not None
        idle = matrix.grad[2:][matrix.detach()[2:] == 0]
        assert bool((idle != 0).all())
    with pytest.raises(KernelError, match="no active operation"):
        net(images, soft, active)


@pytest.mark.parametrize(("channels", "batch"), [(8, 5), (16, 3), (20, 3)])
def test_float32_is_as_accurate_as_the_plain_supernet(channels: int, batch: int) -> None:
    torch.manual_seed(1)
    images = torch.randn(batch, 3, 9, 8)
    exact = results(supernet("reference", torch.float64, channels=channels), images)
    plain = errors(results(supernet("reference", torch.float32, channels=channels), images), exact)
    fused = errors(results(supernet(FUSED, torch.float32, channels=channels), images), exact)
    # One tensor's error is a draw; a tensor that plain torch got right by luck is held to the rest.
    usual = sorted(plain.values())[len(plain) // 2]
    assert all(fused[name] <= 4 * max(plain[name], usual) for name in plain)
    gradients = [name for name in plain if "running" not in name and "tracked" not in name]
    assert sum(fused[n] for n in gradients) <= 2 * sum(plain[n] for n in gradients)


@pytest.mark.slow
def test_a_reduction_cell_of_triton_kernels_agrees() -> None:
    torch.manual_seed(1)
    images = torch.randn(3, 3, 6, 5)
    exact = results(supernet("reference", torch.float64, channels=2, cells=1), images)
    plain = results(supernet("reference", torch.float32, channels=2, cells=1), images)
    fused = results(supernet("triton", torch.float32, channels=2, cells=1), images)
    by_name = errors(plain, exact), errors(fused, exact)
    gradients = [name for name in exact if "running" not in name and "tracked" not in name]
    of_plain, of_fused = (sum(found[name] for name in gradients) for found in by_name)
    assert of_fused <= 2 * of_plain


def active_operations(*names: str) -> dict[str, Sequence[Sequence[bool]]]:
    """The operations of these names, in turn, one an edge and both on every third."""
    places = [DARTS_OPERATIONS.index(name) for name in names]
    rows = [
        [k in (places if e % 3 == 0 else [places[e % len(places)]]) for k in range(WEIGHT_SHAPE[1])]
        for e in range(WEIGHT_SHAPE[0])
    ]
    return dict.fromkeys(CELL_TYPES, rows)


@pytest.mark.parametrize(
    "names",
    [("skip_connect", "dil_conv_5x5"), ("max_pool_3x3", "sep_conv_3x3"), ("avg_pool_3x3",) * 2],
)
def test_operations_can_be_masked_out(names: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    images, active = torch.randn(2, 3, 8, 8), active_operations(*names)
    plain = results(supernet("reference", torch.float64), images, active)
    fused = results(
        supernet("cpu" if DEVICE.type == "cpu" else "auto", torch.float64), images, active
    )
    assert max(errors(fused, plain).values()) < 1e-11
    for name in CELL_TYPES:
        idle = ~torch.tensor(active[name], device=DEVICE)
        assert not plain[f"mixing {name}"][idle].any()
        assert plain[f"mixing {name}"][~idle].all()


def test_what_is_masked_out_is_not_computed() -> None:
    net = supernet(FUSED, torch.float32)
    active = active_operations("skip_connect", "skip_connect")
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    dispatch.reset()
    net(torch.randn(2, 3, 8, 8, device=DEVICE), darts_weights(torch.float32), active)
    assert "separable" not in chosen()
    assert "pools" not in chosen()
    moved = [n for n, buffer in net.named_buffers() if not torch.equal(buffer, before[n])]
    assert moved
    assert not any(".edges." in name and ".2." not in name for name in moved), "skip is number 2"


def test_what_is_recomputed_is_not_kept_and_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: dict[int, list[StorageWeakRef]] = defaultdict(list)  # by the size of dilated kernels

    def watched(*arguments: Any, **settings: Any) -> tuple[list[Tensor], list[Tensor]]:
        outputs, found = separable(*arguments, **settings)
        if settings["dilation"] == 2:
            size = arguments[1][0].shape[-1]
            held[size] += [StorageWeakRef(z.untyped_storage()) for z in outputs]
        return outputs, found

    images = torch.randn(3, 3, 8, 8, device=DEVICE)
    recomputed = results(supernet(FUSED, torch.float32), images)
    with monkeypatch.context() as patch:
        patch.setattr("sdedge.space.darts.fused.separable", watched)
        output = supernet(FUSED, torch.float32)(images, darts_weights(torch.float32))
    assert all(storage.expired() for storage in held[3])
    assert not any(storage.expired() for storage in held[5])
    del output
    twin = replace(get_operation("dil_conv_3x3"), name="kept", fused=separable_terms)
    names = tuple("kept" if name == "dil_conv_3x3" else name for name in DARTS_OPERATIONS)
    with register_operation(twin):
        kept = results(supernet(FUSED, torch.float32, operations=names), images)
    assert all(torch.equal(recomputed[name], kept[name]) for name in kept)


def bottleneck(channels: int, stride: int, *, search: bool) -> nn.Module:
    """A toy operation, without a fused form."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels, affine=not search),
    )


@pytest.mark.skipif(DEVICE.type == "cuda", reason="the kernels have no float64")
def test_an_operation_without_a_fused_form_runs_as_the_module_that_it_is() -> None:
    images = torch.randn(3, 3, 9, 7)
    toy = Operation(name="toy", label="toy", short="toy", group="convolution", build=bottleneck)
    with register_operation(toy):
        plain, fused = (
            results(supernet(impl, torch.float64, operations=(*DARTS_OPERATIONS, "toy")), images)
            for impl in ("reference", "cpu")
        )
        assert max(errors(fused, plain).values()) < 1e-11
        toys = [n for n in fused if ".edges." in n and n.endswith(".7.1.weight")]
        assert toys
        assert all(fused[name].any() for name in toys)
        dispatch.reset()
        supernet("cpu", torch.float32, operations=("none", "toy"))(
            images, darts_weights(torch.float32, 2)
        )
    assert chosen()["operation toy"] == "reference"
    with pytest.raises(ConfigError, match="unknown operation 'toy'"):
        supernet("cpu", torch.float32, operations=("none", "toy"))


@pytest.mark.parametrize("impl", ["reference", "auto"])
def test_a_node_without_an_operation_is_refused(impl: Impl) -> None:
    nothing = [[False] * WEIGHT_SHAPE[1]] * WEIGHT_SHAPE[0]
    net = supernet(impl, torch.float32)
    with pytest.raises(KernelError, match="no active operation"):
        net(torch.randn(2, 3, 8, 8, device=DEVICE), darts_weights(torch.float32),
            dict.fromkeys(CELL_TYPES, nothing))  # fmt: skip


def test_one_value_a_channel_is_refused_in_training() -> None:
    with pytest.raises((KernelError, ValueError), match=r"values? (a|per) channel"):
        supernet("auto", torch.float32)(
            torch.randn(1, 3, 4, 4, device=DEVICE), darts_weights(torch.float32)
        )


def test_a_supernet_of_halves_runs_as_the_plain_one_does() -> None:
    images = torch.randn(4, 3, 8, 8)
    plain, fused = (
        results(supernet(impl, torch.bfloat16), images)["logits"] for impl in ("reference", "auto")
    )
    torch.testing.assert_close(fused.float(), plain.float(), rtol=0.1, atol=0.1)


def test_evaluation_uses_the_running_statistics() -> None:
    plain, fused = supernet("reference", torch.float32), supernet(FUSED, torch.float32)
    images = torch.randn(4, 3, 8, 8, device=DEVICE)
    weights = darts_weights(torch.float32)
    for _ in range(2):
        plain(images, weights)
    fused.load_state_dict(plain.state_dict())
    outputs = [net.eval()(images[:1], weights) for net in (plain, fused)]
    before = {name: buffer.clone() for name, buffer in fused.named_buffers()}
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    gradients = [
        torch.autograd.grad(output.logits.sum(), list(weights.values())) for output in outputs
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in fused.named_buffers())


def test_a_frozen_supernet_still_gives_the_gradient_of_alpha() -> None:
    images = torch.randn(2, 3, 8, 8, device=DEVICE)
    gradients = []
    for frozen in (False, True):
        net, weights = supernet(FUSED, torch.float32), darts_weights(torch.float32)
        net.requires_grad_(not frozen)
        loss = net(images, weights).logits.square().sum()
        gradients.append(torch.autograd.grad(loss, list(weights.values())))
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_the_default_is_the_fused_supernet_and_reference_the_plain_one() -> None:
    images, weights = torch.randn(2, 3, 8, 8, device=DEVICE), darts_weights(torch.float32)
    for impl, route in (("auto", FUSED), ("reference", "reference")):
        dispatch.reset()
        supernet(impl, torch.float32)(images, weights)  # type: ignore[arg-type]
        assert chosen()["supernet"] == route


def searched(impl: Impl, dataset: Dataset, path: Path, reporter: Reporter) -> dict[str, Tensor]:
    """The alphas after three epochs."""
    settings = {"epochs": 3, "batch_size": 4, "channels": 4, "patch_size": 8, "alpha_warmup": 0.0}
    whole = {"epoch_images": None, "valid_images": None}
    config = SearchConfig.from_preset("demo", {"impl": impl, **settings, **whole})
    phase = SearchPhase(config, dataset)
    run = RunDir.create("agree", path)
    run_search(phase, run, reporter)
    kernels = read_json(run.path / "environment.json")["search"]["kernels"]
    assert kernels["supernet"] == (FUSED if impl == "auto" else impl)
    return {name: alpha.detach().cpu() for name, alpha in phase.bilevel.alphas.items()}


@pytest.mark.slow
def test_three_epochs_of_search_agree_as_well_as_two_plain_ones(
    tiny_dataset: Dataset, tmp_path: Path, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = searched("reference", tiny_dataset, tmp_path / "plain", reporter)
    fused = searched("auto", tiny_dataset, tmp_path / "fused", reporter)
    # The same arithmetic in another order of memory, and so with other roundings.
    monkeypatch.setattr("sdedge.nas.build.on_device", lambda module, device: module.to(device))
    again = searched("reference", tiny_dataset, tmp_path / "again", reporter)
    for name in CELL_TYPES:
        noise = float((again[name] - plain[name]).norm() / plain[name].norm())
        assert 0 < noise < 0.1
        assert float((fused[name] - plain[name]).norm() / plain[name].norm()) < 3 * noise
