"""Whether a network fits limits and devices, by how much, and on which devices."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.check import Check, Limits, check_fit
from sdedge.deploy.fit.evaluate import evaluate_targets, variants_of
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import Graph
from sdedge.deploy.memory.plan import flash_bytes
from sdedge.deploy.targets.predict import predict
from sdedge.deploy.targets.target import Target, list_targets, load_target
from sdedge.errors import ConfigError, TargetError

KB = 1024
ARENA = 4 * (3 * 8 * 8 + 8 * 8 * 8)  # image and convolution, both there while it runs
PARAMETERS = 8 * 3 * 9 + 8 + 10 * 8 + 10


def classifier(path: Path, *, unknown: int = 0) -> Path:
    """An ONNX classifier of 8 px images, with operators that nobody knows before its pooling."""
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (10, 8), "c": (10,)}
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()
    ]
    names = ["conv", *(f"strange{i}" for i in range(unknown))]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        *(
            helper.make_node("Strange", [source], [name], name, domain="com.example")
            for source, name in pairwise(names)
        ),
        helper.make_node("GlobalAveragePool", [names[-1]], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "v", "c"], ["y"], "gemm", transB=1),
    ]
    image, scores = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["batch", 3, 8, 8]), ("y", ["batch", 10]))
    )
    graph = helper.make_graph(nodes, "network", [image], [scores], weights)
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8, 8, 8])
        for name in names[1:]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def _shipped_profiles_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return read_graph(classifier(tmp_path / "model.onnx"))


@pytest.fixture
def board() -> Target:
    """It runs an operating system."""
    return replace(load_target("pi4"), ram_bytes=2**30, runtime_ram_bytes=2**25, operator_bytes=100)


@pytest.fixture
def controller() -> Target:
    found = next(target for target in list_targets() if target.flash_bytes)
    return replace(
        found,
        name="controller",
        rates={"int8": found.rates["int8"], "fp32": found.rates["int8"]},
        ram_bytes=64 * KB,
        flash_bytes=256 * KB,
        runtime_ram_bytes=8 * KB,
        code_bytes=50 * KB,
        operator_bytes=1000,
    )


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e13, True, "20"])
@pytest.mark.parametrize("limit", ["max_latency_ms", "max_ram_kb", "max_flash_kb", "max_params"])
def test_a_limit_that_is_none_is_refused_by_its_option(limit: str, value: Any) -> None:
    name = "--" + limit.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"^{name} is {value!r}; it must be a number above 0"):
        Limits(**{limit: value})


def test_a_limit_of_many_digits_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^--max-params is 9{9}.*at most 1e\+12"):
        Limits(max_params=int("9" * 4000))


def test_without_a_device_limits_are_of_the_network_alone(graph: Graph) -> None:
    fit = check_fit(graph, None, Limits(max_ram_kb=3, max_flash_kb=1, max_params=PARAMETERS))
    ram, flash, parameters = fit.checks
    assert (fit.prediction, fit.ram_bytes, fit.parameters) == (None, ARENA, PARAMETERS)
    assert fit.flash_bytes == flash_bytes(graph)
    assert (ram.found, ram.allowed, ram.unit, ram.fits) == (ARENA / KB, 3, "kB", True)
    assert ram.margin == pytest.approx(3 - 2.75)
    assert (flash.found, flash.fits) == (flash_bytes(graph) / KB, False)
    assert flash.margin < 0
    assert (parameters.found, parameters.fits, parameters.margin) == (PARAMETERS, True, 0)
    assert not fit.fits
    assert fit.missed == ("max_flash_kb",)


def test_no_limits_and_no_device_fit_always(graph: Graph) -> None:
    fit = check_fit(graph, None, Limits())
    assert fit.checks == ()
    assert fit.fits


def test_a_controller_shares_its_memory_with_the_runtime(graph: Graph, controller: Target) -> None:
    fit = check_fit(graph, controller, Limits(max_ram_kb=10))
    found = {check.limit: check for check in fit.checks}
    assert fit.ram_bytes == ARENA + 8 * KB
    assert fit.flash_bytes == flash_bytes(graph, 50 * KB, operator_bytes=1000)
    assert found["max_ram_kb"].found == found["ram"].found == fit.ram_bytes / KB
    assert fit.missed == ("max_ram_kb",)
    assert (found["ram"].allowed, found["flash"].allowed) == (64, 256)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"ram_bytes": ARENA + 8 * KB}, ()),
        ({"ram_bytes": ARENA + 8 * KB - 1}, ("ram",)),
        ({"flash_bytes": 50 * KB}, ("flash",)),
    ],
)
def test_what_a_controller_has_is_a_limit(
    graph: Graph, controller: Target, change: dict[str, int], missed: tuple[str, ...]
) -> None:
    assert check_fit(graph, replace(controller, **change), Limits()).missed == missed


def test_a_board_keeps_its_runtime_elsewhere_but_has_to_hold_it(
    graph: Graph, board: Target
) -> None:
    fit = check_fit(graph, board, Limits(max_ram_kb=3, max_flash_kb=10))
    assert fit.fits
    assert (fit.ram_bytes, fit.flash_bytes) == (ARENA, flash_bytes(graph, operator_bytes=100))
    assert [check.limit for check in fit.checks] == ["max_ram_kb", "max_flash_kb", "ram"]
    needed = ARENA + graph.weight_bytes + 2**25
    assert fit.checks[-1].found == needed / KB
    assert check_fit(graph, replace(board, ram_bytes=needed - 1), Limits()).missed == ("ram",)


def test_latency_is_held_against_the_prediction(graph: Graph, board: Target) -> None:
    expected = predict(graph, board)
    fits = check_fit(graph, board, Limits(max_latency_ms=expected.latency_ms)).checks[0]
    tight = check_fit(graph, board, Limits(max_latency_ms=expected.latency_ms * 0.999)).checks[0]
    far = check_fit(graph, board, Limits(max_latency_ms=expected.high_ms)).checks[0]
    assert (fits.found, fits.low, fits.high) == (
        expected.latency_ms,
        expected.low_ms,
        expected.high_ms,
    )
    assert (fits.unit, fits.fits, tight.fits, far.fits) == ("ms", True, False, True)
    assert (fits.certain, tight.certain, far.certain) == (False, False, True)


@pytest.mark.parametrize(
    ("allowed", "fits", "certain"),
    [(7, False, True), (8, False, False), (10, True, False), (13, True, True)],
)
def test_certain_is_what_the_whole_interval_agrees_on(
    allowed: float, fits: bool, certain: bool
) -> None:
    check = Check(limit="max_latency_ms", allowed=allowed, found=10, unit="ms", low=8, high=13)
    assert (check.fits, check.certain) == (fits, certain)


def test_latency_needs_a_device_and_all_operators(graph: Graph, board: Target) -> None:
    with pytest.raises(ConfigError, match="--max-latency-ms 20 needs --target NAME"):
        check_fit(graph, None, Limits(max_latency_ms=20))
    with pytest.raises(ConfigError, match="--max-latency-ms 20 needs no --partial"):
        check_fit(graph, board, Limits(max_latency_ms=20), partial=True)


def test_unknown_operators_are_counted_or_left_out(tmp_path: Path, board: Target) -> None:
    strange = read_graph(classifier(tmp_path / "strange.onnx", unknown=2))
    with pytest.raises(TargetError, match=r"(?=.*com\.example\.Strange)(?=.*\b2\b)"):
        check_fit(strange, board, Limits())
    fit = check_fit(strange, board, Limits(max_params=1), partial=True)
    assert fit.prediction is not None
    assert fit.prediction.partial
    assert not fit.fits


def test_json_form_holds_all(graph: Graph, controller: Target) -> None:
    fit = check_fit(graph, controller, Limits(max_latency_ms=1e-6))
    value = json.loads(json.dumps(fit.to_dict()))
    assert value["fits"] is False
    assert value["checks"][0]["margin"] < 0
    assert value["prediction"]["by_kind_ms"].keys() >= {"dense", "pooling", "linear"}
    assert value["peak_operator"] == "conv"
    assert [tensor["shape"] for tensor in value["live_at_peak"]] == [[1, 8, 8, 8], [1, 3, 8, 8]]
    assert value["arena_bytes"] == value["peak_ram_bytes"] == ARENA
    assert value["ram_bytes"] == ARENA + 8 * KB


def test_there_is_a_report_for_each_precision_that_a_device_runs(
    tmp_path: Path, board: Target, controller: Target
) -> None:
    variants = variants_of(Artifact.open(classifier(tmp_path / "model.onnx")))
    controller = replace(controller, rates={"int8": controller.rates["int8"]})
    targets = [board, controller]
    rows = evaluate_targets(variants, targets, Limits())
    told = [(row.target.name, row.precision, row.variant.if_quantised) for row in rows]
    assert told == [("pi4", "fp32", False), ("pi4", "int8", True), ("controller", "int8", True)]
    assert 4 * rows[1].fit.ram_bytes == rows[0].fit.ram_bytes
    assert [
        row.precision for row in evaluate_targets(variants, targets, Limits(), precision="int8")
    ] == [
        "int8",
        "int8",
    ]
    with pytest.raises(TargetError, match="in fp32: controller runs int8"):
        evaluate_targets(variants, targets[1:], Limits(), precision="fp32")


def test_a_quantised_file_is_preferred_to_what_it_would_be(tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx")
    quantised = classifier(tmp_path / "model.int8.onnx")
    variant = variants_of(Artifact.open(model), Artifact.open(quantised))["int8"]
    assert (variant.file, variant.if_quantised) == (quantised, False)
