"""The cost model, by hand; what a prediction says; what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import Graph, Kind, Operator, Precision, Value
from sdedge.deploy.targets.band import ErrorBand
from sdedge.deploy.targets.predict import operator_ms, predict
from sdedge.deploy.targets.target import KINDS, Rates, Target, load_target
from sdedge.errors import TargetError

GMACS = {"dense": 8.0, "pointwise": 4.0, "depthwise": 2.0, "linear": 1.0}
RATES = Rates(
    overhead_us={"run": 100.0, "node": 10.0, "pixel": 0.0001},
    gmacs_per_s=GMACS,
    gbytes_per_s={**dict.fromkeys(KINDS, 10.0), "memory": 5.0},
    channel_block=1,
    channel_multiple=1,
    rest_alone=False,
    cache_bytes=None,
    error=ErrorBand(low=0.8, high=1.5, coverage=0.9, networks=20),
)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return replace(load_target("pi4"), power_mw=2000.0, rates={"fp32": RATES, "int8": RATES})


def single(
    kind: Kind,
    c_in: int,
    c_out: int,
    *,
    weights: int = 0,
    macs: int = 0,
    side: int = 10,
    inputs: int = 1,
    precision: Precision = "fp32",
) -> Graph:
    """A graph of one operator on maps of side x side pixels."""
    size = {"fp32": 4, "int8": 1}[precision]
    values = {
        name: Value(name=name, shape=(1, c, side, side), precision=precision)
        for name, c in (("x", c_in), ("y", c_out))
    }
    operator = Operator(
        name="op",
        op_type=kind,
        kind=kind,
        precision=precision,
        inputs=("x",) * inputs,
        outputs=("y",),
        macs=macs,
        weight_bytes=weights * size,
        input_bytes=inputs * values["x"].size_bytes,
        output_bytes=values["y"].size_bytes,
    )
    return Graph(
        operators=(operator,),
        values=values,
        inputs=("x",),
        outputs=("y",),
        parameters=weights,
        weight_bytes=weights * size,
        file_size_bytes=0,
        classes=2,
    )


def conv(c_in: int, c_out: int, kernel: int = 1, groups: int = 1) -> Graph:
    weights = c_out * (c_in // groups) * kernel**2
    depthwise = groups > 1 and groups == c_in
    kind: Kind = "depthwise" if depthwise else "pointwise" if kernel * groups == 1 else "dense"
    return single(kind, c_in, c_out, weights=weights, macs=weights * 100)


def parts(graph: Graph, gmacs: float) -> float:
    """Milliseconds of launch, pixels, products and bytes, as they should be with block 1."""
    (operator,) = graph.operators
    moved = operator.input_bytes + operator.output_bytes + operator.weight_bytes
    return 0.01 + 100 * 1e-7 + operator.macs / gmacs / 1e6 + moved / 10 / 1e6


@pytest.mark.parametrize(
    ("graph", "gmacs"),
    [
        (conv(16, 32), 4.0),
        (conv(16, 32, kernel=3), 8.0),
        (conv(16, 16, kernel=5, groups=16), 2.0),
        (conv(32, 32, groups=2), 4.0),  # pointwise in groups: at the rate of pointwise
    ],
)
def test_a_convolution_costs_launch_pixels_products_and_bytes(
    target: Target, graph: Graph, gmacs: float
) -> None:
    (operator,) = graph.operators
    assert operator_ms(operator, graph, target) == pytest.approx(parts(graph, gmacs), rel=1e-12)


def test_other_operators_cost_launch_and_bytes(target: Target) -> None:
    graph = single("elementwise", 16, 16, inputs=2)
    (operator,) = graph.operators
    assert operator_ms(operator, graph, target) == pytest.approx(0.01 + 3 * 6400 / 10 / 1e6)


def with_rates(target: Target, **changes: Any) -> Target:
    return replace(target, rates={"fp32": replace(RATES, **changes)})


def test_channels_are_padded_to_blocks(target: Target) -> None:
    blocked = with_rates(target, channel_block=16)

    def cost(c: int, groups: int = 1) -> float:
        graph = conv(c, c, groups=groups)
        return operator_ms(graph.operators[0], graph, blocked) - graph.weight_bytes / 10 / 1e6

    assert cost(17) == pytest.approx(cost(32), rel=1e-9)
    assert cost(33) > 1.5 * cost(32)
    assert cost(9, 9) == pytest.approx(cost(16, 16), rel=1e-9)


@pytest.mark.parametrize(
    ("path", "graph"),
    [
        ("pointwise unaligned", conv(18, 32)),
        ("depthwise unaligned", conv(18, 18, kernel=3, groups=18)),
        ("pointwise narrow", conv(8, 32)),
        ("dense narrow", conv(3, 32, kernel=3)),
        ("pointwise grouped", conv(32, 32, groups=2)),
    ],
)
def test_slow_paths_have_rates_of_their_own(target: Target, path: str, graph: Graph) -> None:
    layout = {"channel_block": 16, "channel_multiple": 4}
    (operator,) = graph.operators
    usual = operator_ms(operator, graph, with_rates(target, **layout))
    slower = with_rates(target, **layout, gmacs_per_s={**GMACS, path: 0.01})
    assert operator_ms(operator, graph, slower) == pytest.approx(
        usual + operator.macs * (100 - 1 / GMACS[path.split()[0]]) / 1e6, rel=1e-9
    )
    for other in ("pointwise", "depthwise", "dense"):
        untouched = with_rates(target, **layout, gmacs_per_s={**GMACS, f"{other} none": 0.01})
        assert operator_ms(operator, graph, untouched) == usual


def test_only_the_rest_may_be_slow(target: Target) -> None:
    gmacs = {**GMACS, "depthwise unaligned": 0.5}
    graph = conv(19, 19, kernel=3, groups=19)
    (operator,) = graph.operators
    spent = []
    for rest_alone in (False, True):
        layout = with_rates(target, channel_multiple=8, rest_alone=rest_alone, gmacs_per_s=gmacs)
        spent.append(operator_ms(operator, graph, layout) - parts(graph, 1e9))
    assert spent[0] == pytest.approx(operator.macs / 0.5 / 1e6, rel=1e-6)
    assert spent[1] == pytest.approx(operator.macs * (16 / 2 + 3 / 0.5) / 19 / 1e6, rel=1e-6)


def test_maps_that_do_not_fit_the_blocks_move_at_a_rate_of_their_own(target: Target) -> None:
    rates = {**RATES.gbytes_per_s, "movement unaligned": 0.1}
    blocked = with_rates(target, channel_block=16, gbytes_per_s=rates)
    for channels, rate in ((32, 10.0), (24, 0.1)):
        graph = single("movement", channels, channels)
        expected = 0.01 + 2 * channels * 400 / rate / 1e6
        assert operator_ms(graph.operators[0], graph, blocked) == pytest.approx(expected)


def test_what_exceeds_the_cache_moves_at_the_speed_of_memory(target: Target) -> None:
    graph = single("elementwise", 16, 16)
    inside, outside = (with_rates(target, cache_bytes=size) for size in (12800, 2800))
    (operator,) = graph.operators
    extra = operator_ms(operator, graph, outside) - operator_ms(operator, graph, inside)
    assert extra == pytest.approx(10_000 / 5 / 1e6)


def classifier(path: Path, *, width: int = 8, strange: int = 0) -> Path:
    """An ONNX classifier of 8 px images, with operators of another domain before its pooling."""
    shapes = {"w": (width, 3, 3, 3), "v": (10, width), "c": (10,)}
    weights = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in shapes.items()]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y0"], pads=[1] * 4)]
    nodes += [
        helper.make_node("Strange", [f"y{index}"], [f"y{index + 1}"], domain="acme")
        for index in range(strange)
    ]
    nodes += [
        helper.make_node("GlobalAveragePool", [f"y{strange}"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "c"], ["z"], transB=1),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    scores = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 10])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("acme", 1)]
    made = helper.make_graph(nodes, "g", [image], [scores], weights)
    made.value_info.extend(
        helper.make_tensor_value_info(f"y{index + 1}", TensorProto.FLOAT, ["N", width, 8, 8])
        for index in range(strange)
    )
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=7), path)
    return path


def test_a_prediction_adds_up_and_says_what_it_assumes(tmp_path: Path, target: Target) -> None:
    graph = read_graph(classifier(tmp_path / "m.onnx"))
    prediction = predict(graph, target)
    singly = [operator_ms(operator, graph, target) for operator in graph.operators]
    assert prediction.latency_ms == pytest.approx(0.1 + sum(singly))
    assert sum(prediction.by_kind_ms.values()) == pytest.approx(prediction.latency_ms)
    assert prediction.by_kind_ms["dense"] == singly[0]
    assert prediction.low_ms == pytest.approx(0.8 * prediction.latency_ms)
    assert prediction.high_ms == pytest.approx(1.5 * prediction.latency_ms)
    assert prediction.energy_mj == pytest.approx(2 * prediction.latency_ms)
    assert (prediction.target, prediction.runtime, prediction.threads) == ("pi4", "ncnn", 4)
    assert (prediction.precision, prediction.coverage, prediction.partial) == ("fp32", 0.9, False)


def test_operators_without_a_cost_model_are_named_and_counted(
    tmp_path: Path, target: Target
) -> None:
    graph = read_graph(classifier(tmp_path / "m.onnx", strange=2))
    with pytest.raises(TargetError, match=r"no cost model for 2 acme\.Strange: .*--partial"):
        predict(graph, target)
    partial = predict(graph, target, partial=True)
    whole = predict(read_graph(classifier(tmp_path / "w.onnx")), target)
    assert partial.partial
    assert partial.latency_ms == pytest.approx(whole.latency_ms)


def test_a_device_without_floats_wants_int8(tmp_path: Path, target: Target) -> None:
    graph = read_graph(classifier(tmp_path / "m.onnx"))
    chip = load_target("cortex-m4")
    with pytest.raises(TargetError, match=r"cortex-m4 \(X-CUBE-AI 9.0\) runs int8, not fp32: "):
        predict(graph, chip)
    assert predict(graph.as_int8(), chip).precision == "int8"


def test_what_an_int8_network_does_in_floats_has_its_rate(target: Target) -> None:
    graph = single("pooling", 16, 16)
    mixed = replace(
        graph,
        operators=(*graph.operators, *conv_int8().operators),
        values={**graph.values, **conv_int8().values},
    )
    assert mixed.precision == "int8"
    slow = replace(RATES, gbytes_per_s={**RATES.gbytes_per_s, "pooling float": 0.1})
    target = replace(target, rates={"int8": slow})
    assert operator_ms(mixed.operators[0], mixed, target) == pytest.approx(
        0.01 + 2 * 6400 / 0.1 / 1e6
    )


def conv_int8() -> Graph:
    weights = 32 * 32
    graph = single("pointwise", 32, 32, weights=weights, macs=100 * weights, precision="int8")
    names = {"x": "a", "y": "b"}
    operator = replace(graph.operators[0], inputs=("a",), outputs=("b",))
    values = {names[n]: replace(v, name=names[n]) for n, v in graph.values.items()}
    return replace(graph, operators=(operator,), values=values, inputs=("a",), outputs=("b",))


@pytest.mark.parametrize("name", ["pi4", "pizero2w", "watch", "jetson-nano-gpu"])
@pytest.mark.usefixtures("target")
def test_a_wider_network_takes_longer(tmp_path: Path, name: str) -> None:
    device = load_target(name)
    narrow, wide = (
        predict(read_graph(classifier(tmp_path / f"{width}.onnx", width=width)), device)
        for width in (8, 64)
    )
    assert narrow.latency_ms < wide.latency_ms
    assert narrow.low_ms < narrow.latency_ms < narrow.high_ms
