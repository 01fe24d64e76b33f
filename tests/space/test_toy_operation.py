"""The recipe of docs/extending.md for an operation: its toy goes from a search to an ONNX file."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import sdedge
from factories.networks import describe, trained
from sdedge.cli.output import cell_text
from sdedge.config import SearchConfig
from sdedge.data.shapes import draw
from sdedge.deploy.ir.trace import to_program
from sdedge.nas.check import check_search
from sdedge.operations import NAS_BENCH_201, Operation, get_operation, register_operation
from sdedge.run import RunDir, read_json
from sdedge.space.counting import count_network
from sdedge.space.nasbench201.cell import Nb201Cell
from sdedge.space.saved import NetworkDescription

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
OPERATIONS = ("skip_connect", "conv_3x3")
TINY = {"preset": "demo", "device": "cpu", "image_size": 16, "channels": 4, "cells": 3, "epochs": 1}


@pytest.fixture(scope="module")
def toy() -> Operation:
    """The operation on the page, as the page has it."""
    section = PAGE.read_text(encoding="utf-8").split("\n## An operation\n")[1].split("\n## ")[0]
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], names)
    operation = names["CONV_3X3"]
    assert isinstance(operation, Operation)
    return operation


@pytest.fixture
def registered(toy: Operation) -> Iterator[None]:
    with register_operation(toy):
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that name three folders of a dozen images each."""
    root = tmp_path_factory.mktemp("images")
    for index in range(36):
        target = root / "set" / f"kind-{index % 3}" / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(0, "train", index, 16).image).save(target)
    return {"dataset": str(root / "set"), "data_root": str(root / "data"), **TINY}


@pytest.mark.usefixtures("registered")
def test_a_toy_goes_from_a_search_to_an_onnx_file(images: dict[str, Any], tmp_path: Path) -> None:
    settings = {**images, "batch_size": 8, "epoch_images": 8, "valid_images": 4}
    path = tmp_path / "run"
    found = sdedge.search(run=path, operations=OPERATIONS, **settings)
    again = sdedge.search(run=path, resume=True)
    assert again.genotype == found.genotype == sdedge.load_genotype(path)
    cell = found.genotype
    assert isinstance(cell, sdedge.Genotype)
    assert {name for name, _ in cell.normal + cell.reduce} == set(OPERATIONS)
    assert cell.parameter_free_count == cell.skip_count < len(cell.normal)

    kernels = read_json(RunDir(path).environment)["search"]["kernels"]
    assert kernels["operation conv_3x3"] == "reference"
    assert "conv 3x3" in RunDir(path).cell_drawing("svg").read_text(encoding="utf-8")
    assert "conv3(" in cell_text(cell.normal)

    result = sdedge.train(found, **images, batch_size=8, auxiliary=False)
    network, description = sdedge.load_network(result)
    bare = describe(
        replace(cell, normal=_all_skips(cell.normal), reduce=_all_skips(cell.reduce)),
        classes=description.classes,
    ).build()
    assert count_network(network, 16).macs > count_network(bare, 16).macs
    exported = sdedge.export(result)
    assert exported.to_dict()["onnx_accuracy"] == exported.to_dict()["torch_accuracy"]
    shapes = {tuple(tensor.dims) for tensor in onnx.load(path / "model.onnx").graph.initializer}
    assert any(shape[2:] == (3, 3) and shape[0] == shape[1] for shape in shapes)


def _all_skips(edges: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return tuple(("skip_connect", source) for _, source in edges)


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("strategy", ["dots", "p-darts", "darts-pt", "gdas", "darts-minus"])
def test_every_kind_of_method_searches_over_the_same_operations(
    strategy: str, images: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**images, "batch_size": 8, "epoch_images": 8, "valid_images": 4}
    found = sdedge.search(
        run=tmp_path / "run", operations=OPERATIONS, strategy=strategy, **settings
    )
    assert isinstance(found.genotype, sdedge.Genotype)
    assert {name for name, _ in found.genotype.normal} <= set(OPERATIONS)


def test_a_toy_is_known_while_it_is_registered(toy: Operation) -> None:
    edges = (("conv_3x3", 0), ("conv_3x3", 1))
    with register_operation(toy):
        cell = sdedge.Genotype(normal=edges, reduce=edges, normal_concat=(2,), reduce_concat=(2,))
        assert sdedge.Genotype.from_json(cell.to_json()) == cell
        stored = describe(cell).to_dict()
        assert NetworkDescription.from_dict(stored, source="here") == describe(cell)
        with pytest.raises(sdedge.ConfigError, match="an operation conv_3x3 already"):
            register_operation(toy)
    unknown = r"unknown operation 'conv_3x3'.*, or register it first \(register_operation\)"
    with pytest.raises(sdedge.GenotypeError, match=unknown):
        sdedge.Genotype.from_json(cell.to_json())
    with pytest.raises(sdedge.ConfigError, match=unknown):
        get_operation("conv_3x3")
    with pytest.raises(sdedge.RunError, match=f"here: the network cannot be built: .*{unknown}"):
        NetworkDescription.from_dict(stored, source="here")
    with register_operation(toy, NAS_BENCH_201):
        assert Nb201Cell(("conv_3x3",) * 6).parameter_free_count == 0


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (("conv_9x9",), "unknown operation 'conv_9x9' of darts"),
        ((), "at least one other operation"),
        (("skip_connect", "skip_connect"), "named twice"),
        (("none",), "operations has none, which is always there; leave it out"),
        (("none", "skip_connect"), "operations has none, which is always there"),
        (("auxiliary_skip",), "never part of a derived cell"),
    ],
)
def test_what_cannot_be_searched_over_is_refused(operations: Any, message: str) -> None:
    with pytest.raises(sdedge.ConfigError, match=message):
        SearchConfig(operations=operations)


def half(channels: int, stride: int, *, search: bool) -> nn.Module:
    """Half the channels."""
    return nn.Conv2d(channels, channels // 2, 1, stride=stride)


def flat(channels: int, stride: int, *, search: bool) -> nn.Module:
    """The stride is not heeded."""
    return nn.Conv2d(channels, channels, 1)


def floor(channels: int, stride: int, *, search: bool) -> nn.Module:
    """An odd row is dropped."""
    return nn.AvgPool2d(stride)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"build": "nomod.x:y"}, "toy: 'nomod.x:y' names no function .*No module named"),
        ({"build": "sdedge.paths:zzz"}, "toy: 'sdedge.paths:zzz' names no function"),
        ({"build": "sdedge.paths"}, "toy: 'sdedge.paths' names no function .*no colon"),
        ({"build": "sdedge:__version__"}, "toy: 'sdedge:__version__' is no function"),
        ({"build": lambda c, stride, *, search: 3}, "toy: .* gives 3; it must give a torch"),
        ({"build": lambda c: nn.Identity()}, "toy fails at stride 1 on .*: TypeError"),
        ({"fused": "nomod.x:y"}, "toy: 'nomod.x:y' names no function"),
        (
            {"build": half},
            r"toy gives \(1, 2, 4, 5\) at stride 1 on .*; it must give \(1, 4, 4, 5\)",
        ),
        (
            {"build": flat},
            r"toy gives \(1, 4, 4, 5\) at stride 2 on .*; it must give \(1, 4, 2, 3\)",
        ),
        (
            {"build": floor},
            r"toy gives \(1, 4, 2, 2\) at stride 2 on .*; it must give \(1, 4, 2, 3\)",
        ),
    ],
)
def test_an_operation_that_cannot_work_is_refused_before_the_run_is_made(
    toy: Operation, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run"
    with (
        register_operation(replace(toy, name="toy", **fields)),
        pytest.raises(sdedge.ConfigError, match=message),
    ):
        sdedge.search(run=path, operations=("skip_connect", "toy"), dataset="shapes", **TINY)
    assert not path.exists()


@pytest.mark.usefixtures("registered")
def test_a_check_of_an_operation_leaves_the_random_state() -> None:
    config = SearchConfig(operations=OPERATIONS, device="cpu")
    before = torch.random.get_rng_state()
    check_search(config)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("operations", ["[none]", 3, {"none": 1}])
def test_operations_that_are_no_list_of_names_say_how_one_looks(operations: Any) -> None:
    with pytest.raises(
        sdedge.ConfigError, match=r'a list of names, such as \["sep_conv_3x3"\], or'
    ):
        SearchConfig.check({"operations": operations})


class Hardswish(nn.Module):
    """What no node of an export stands for."""

    def forward(self, x: Tensor) -> Tensor:
        """x * relu6(x + 3) / 6."""
        return nn.functional.hardswish(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c, stride, *, search: Hardswish(), "operation toy: hardswish in cells.0"),
        (lambda c, stride, *, search: nn.BatchNorm2d(c), "operation toy: cannot fold batch norm"),
    ],
)
def test_an_export_names_the_operation_that_it_has_no_form_for(build: Any, message: str) -> None:
    edges = (("toy", 0), ("skip_connect", 1))
    toy = Operation(name="toy", label="toy", short="toy", group="convolution", build=build)
    with register_operation(toy):
        cell = sdedge.Genotype(
            normal=edges, reduce=_all_skips(edges), normal_concat=(2,), reduce_concat=(2,)
        )
        description = describe(cell)
        with torch.no_grad(), pytest.raises(sdedge.ExportError, match=message):
            to_program(trained(description), description)
