"""INT8: the same network within its rounding, in few nodes and bytes, from the right images."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from factories.exports import export_network, quantize_network
from factories.networks import SEMANTIC, describe, trained
from sdedge.data.dataset import Dataset, Split
from sdedge.deploy.formats.onnx.verify import ExportReport
from sdedge.deploy.formats.onnx.write import program_model, to_model
from sdedge.deploy.int8 import search as int8
from sdedge.deploy.int8.equalize import equalize
from sdedge.deploy.int8.images import choose_images
from sdedge.deploy.int8.quantize import _Quantizer, quantize, quantized_tensors
from sdedge.deploy.int8.ranges import METHODS, Observations, observe
from sdedge.deploy.int8.report import judge
from sdedge.deploy.ir.optimize import optimize_graph
from sdedge.deploy.ir.program import INPUT, Program
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.latency.compare import Latency, compare_latency
from sdedge.errors import BenchError, DataError, ExportError
from sdedge.genotype import Genotype
from sdedge.space.counting import count_network
from sdedge.space.saved import NetworkDescription

EVERY_OPERATION = [
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "skip_connect",
]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x})[0]


def plain(program: Program, channels: int = 3, size: int = 8) -> onnx.ModelProto:
    """The program as a model whose output is whatever its last node makes."""
    model = to_model(program, size, 2)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = channels
    return model


def quantized(description: NetworkDescription, images: int = 16) -> tuple[onnx.ModelProto, ...]:
    """The fp32 and the INT8 form, calibrated on what they will be run on; and the images."""
    program = equalize(to_program(trained(description), description))
    tensors = quantized_tensors(program)
    x = noise(images, 3, description.image_size, description.image_size)
    observable = program_model(program, description, extra=tensors).SerializeToString()
    observed = observe(observable, tensors, [x])
    ranges = {name: METHODS["min_max"](seen) for name, seen in observed.items()}
    exact = program_model(program, description)
    return (
        exact,
        program_model(quantize(program, ranges, weight_limit=63), description, node_names=False),
        x,
    )


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """As onnxruntime runs it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def max_pools_in_nchw(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Those of bytes that onnxruntime left in the layout in which they are slow."""
    nodes = optimised(model, folder).graph.node
    rounded = {node.output[0] for node in nodes if node.op_type == "QuantizeLinear"}
    return [n.name for n in nodes if n.op_type == "MaxPool" and n.input[0] in rounded]


def cell_of(operations: list[str]) -> Genotype:
    edges = tuple((name, position % 2) for position, name in enumerate(operations))
    return Genotype(normal=edges, reduce=edges, normal_concat=(6, 2), reduce_concat=(3, 4, 5))


class TestGraph:
    @pytest.mark.parametrize(
        ("genotype", "stem", "image_size"),
        [
            (SEMANTIC, "cifar", 16),
            ("DARTS_V1", "cifar", 15),
            ("PC_DARTS_cifar", "cifar", 18),
            ("NASNet_A", "imagenet", 64),
            (cell_of(EVERY_OPERATION), "cifar", 16),
        ],
    )
    def test_scores_are_those_of_fp32_within_rounding(
        self, genotype: str | Genotype, stem: str, image_size: int
    ) -> None:
        exact, rounded, x = quantized(describe(genotype, stem=stem, image_size=image_size))
        onnx.checker.check_model(rounded, full_check=True)
        expected, actual = run(exact, x), run(rounded, x)
        error = np.square(actual - expected).mean() / expected.var()
        assert 0 < error < 0.02
        np.testing.assert_array_equal(run(rounded, x[:3]), actual[:3])

    def test_every_convolution_is_one_int8_kernel(self) -> None:
        exact, rounded, _ = quantized(describe(SEMANTIC))
        types = Counter(node.op_type for node in rounded.graph.node)
        assert types["QLinearConv"] == Counter(n.op_type for n in exact.graph.node)["Conv"]
        assert types["Conv"] == types["Relu"] == 0
        assert types["QuantizeLinear"] == 1 + types["Add"] + types["GlobalAveragePool"]

    def test_runtime_converts_only_the_image(self, tmp_path: Path) -> None:
        _, rounded, _ = quantized(describe(SEMANTIC))
        types = Counter(node.op_type for node in optimised(rounded, tmp_path).graph.node)
        assert types["QuantizeLinear"] == 1
        assert types["DequantizeLinear"] == types["Add"] == types["Gemm"] == 0

    def test_a_max_pool_of_a_sum_made_in_float_comes_before_the_rounding(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        summed = (("avg_pool_3x3", 0), ("skip_connect", 1))
        pooled = (("max_pool_3x3", 2), ("skip_connect", 0))
        edges = summed + pooled + (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)) * 2
        description = describe(Genotype(normal=edges, reduce=edges))
        _, rounded, x = quantized(description)
        assert not max_pools_in_nchw(rounded, tmp_path)
        monkeypatch.setattr(_Quantizer, "_max_pool", _Quantizer._bytes)
        _, on_bytes, _ = quantized(description)
        np.testing.assert_array_equal(run(rounded, x), run(on_bytes, x))

    def test_file_has_little_beside_a_byte_a_parameter(self) -> None:
        description = describe(SEMANTIC, channels=16, cells=4, image_size=16, classes=10)
        _, rounded, _ = quantized(description, images=2)
        parameters = count_network(description.build(), 16).params
        assert len(rounded.SerializeToString()) <= 1.2 * parameters

    def test_constants_are_stored_once(self) -> None:
        _, rounded, _ = quantized(describe(SEMANTIC))
        scalars = [
            (weight.data_type, weight.raw_data)
            for weight in rounded.graph.initializer
            if not weight.dims
        ]
        assert len(set(scalars)) == len(scalars)
        read = {name for node in rounded.graph.node for name in node.input}
        assert {weight.name for weight in rounded.graph.initializer} <= read

    def test_an_operator_without_int8_form_is_named(self) -> None:
        program = Program()
        program.node("Gelu", [INPUT], "bent")
        with pytest.raises(ExportError, match="Gelu at bent"):
            quantize(program, {INPUT: (0, 1)})

    def test_a_relu_whose_scale_has_negative_values_still_cuts_them_off(self) -> None:
        program = Program()
        weight = program.constant("weight", np.eye(3, dtype=np.float32)[:, :, None, None])
        rectified = program.node("Relu", [program.node("Conv", [INPUT, weight], "conv")], "relu")
        negative = program.node("MaxPool", [INPUT], "pool", kernel_shape=(1, 1))
        program.node("Concat", [rectified, negative], "both", axis=1)
        program.node("GlobalAveragePool", ["both"], "mean")
        program.node("Flatten", ["mean"], "flat")
        program.node("Gemm", ["flat", program.constant("w", np.eye(6, dtype=np.float32))], "out")
        ranges = dict.fromkeys((INPUT, "both", "pool", "mean", "flat"), (-2.0, 2.0))
        model = plain(quantize(program, {**ranges, "relu": (0.0, 2.0)}))
        x = np.full((1, 3, 8, 8), -1, np.float32)
        np.testing.assert_allclose(run(model, x)[0], [0, 0, 0, -1, -1, -1], atol=0.02)


class TestEqualize:
    @pytest.mark.parametrize("genotype", [SEMANTIC, "DARTS_V1", "NASNet_A"])
    def test_keeps_the_scores_and_levels_depthwise_weights(self, genotype: str) -> None:
        description = describe(genotype)
        program = to_program(trained(description), description)
        before = {name: values.copy() for name, values in program.constants.items()}
        levelled = equalize(program)
        x = noise(2, 3, 16, 16)
        expected = run(program_model(program, description), x)
        actual = run(program_model(levelled, description), x)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert all(np.array_equal(before[name], program.constants[name]) for name in before)
        spreads = []
        for node in levelled.nodes:
            weight = levelled.constants[node.inputs[1]] if node.op_type == "Conv" else None
            if weight is not None and weight.shape[1] == 1 and len(node.inputs) == 2:
                greatest = np.abs(weight).max(axis=(1, 2, 3))
                spreads.append(greatest.max() / greatest.min())
        assert max(spreads) == pytest.approx(1, rel=1e-5)

    def test_a_channel_of_zeros_stays_finite(self) -> None:
        description = describe(SEMANTIC)
        program = to_program(trained(description), description)
        name = next(n.inputs[1] for n in program.nodes if n.attributes.get("group", 1) > 1)
        program.constants[name] = program.constants[name].copy()
        program.constants[name][0] = 0
        x = noise(1, 3, 16, 16)
        expected = run(program_model(program, description), x)
        actual = run(program_model(equalize(program), description), x)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


class TestLean:
    """On networks `test_export` proves the scores equal; here: that there is less to run."""

    def test_two_separable_branches_share_their_convolutions(self) -> None:
        genotype = cell_of(["sep_conv_3x3"] * 10)
        model = program_model(
            to_program(trained(describe(genotype)), describe(genotype)), describe(genotype)
        )
        types = Counter(node.op_type for node in model.graph.node)
        assert types["Add"] == 0
        # A node takes 4 convolutions for both branches; 3 cells of 5 nodes, inputs and stem beside.
        assert types["Conv"] <= 3 * 5 * 4 + 3 * 2 + 2 * 2 + 1

    def test_branches_that_differ_stay(self) -> None:
        program = Program()
        weights = [program.constant(n, noise(4, 3, k, k)) for n, k in (("a", 1), ("b", 3))]
        left = program.node("Conv", [INPUT, weights[0]], "left")
        right = program.node("Conv", [INPUT, weights[1]], "right", pads=(1, 1, 1, 1))
        program.node("Add", [left, right], "sum")
        assert [node.op_type for node in optimize_graph(program).nodes] == ["Conv", "Conv", "Add"]

    def test_what_others_read_stays(self) -> None:
        program = Program()
        weights = [program.constant(n, noise(4, 3, 1, 1)) for n in "ab"]
        left, right = (program.node("Conv", [INPUT, w], f"conv {w}") for w in weights)
        total = program.node("Add", [left, right], "sum")
        program.node("Add", [total, left], "more")
        optimized = optimize_graph(program)
        assert [node.op_type for node in optimized.nodes] == ["Conv", "Conv", "Add", "Add"]

    @pytest.mark.parametrize("bias", [False, True])
    def test_sums_and_groups_compute_the_same(self, bias: bool) -> None:
        program = Program()

        def conv(x: str, name: str, *shape: int, **attributes: object) -> str:
            generator = np.random.default_rng(len(name) + sum(map(ord, name)))
            weight = program.constant(name, generator.standard_normal(shape, np.float32))
            parts = [x, weight]
            if bias:
                values = generator.standard_normal(shape[0], np.float32)
                parts.append(program.constant(f"{name} bias", values))
            return program.node("Conv", parts, f"{name} conv", **attributes)

        branches = []
        for name in "ab":
            x = program.node("Relu", [conv(INPUT, f"{name} in", 4, 3, 1, 1)], f"{name} relu")
            x = conv(x, f"{name} dw", 4, 1, 3, 3, group=4, pads=(1, 1, 1, 1))
            x = program.node("Relu", [conv(x, f"{name} pw", 4, 4, 1, 1)], f"{name} mid")
            branches.append(conv(x, f"{name} out", 6, 4, 1, 1))
        program.node("Add", branches, "sum")
        merged = optimize_graph(program)
        assert Counter(n.op_type for n in merged.nodes) == {"Conv": 4, "Concat": 1, "Relu": 2}
        x = noise(2, 3, 8, 8)
        np.testing.assert_allclose(run(plain(merged), x), run(plain(program), x), atol=1e-5)


class TestRanges:
    @staticmethod
    def seen(*batches: np.ndarray) -> Observations:
        observed = Observations()
        for batch in batches:
            observed.add(batch, np.random.default_rng(0))
        return observed

    def test_of_the_extremes_and_of_their_averages(self) -> None:
        seen = self.seen(np.array([-1.0, 2.0]), np.array([-3.0, 4.0]))
        assert METHODS["min_max"](seen) == (-3, 4)
        assert METHODS["average"](seen) == (-2, 3)

    def test_percentile_cuts_a_lone_outlier_off(self) -> None:
        values = np.linspace(0, 1, 100_000).astype(np.float32)
        seen = self.seen(values, values, values)
        seen.samples.append(np.array([50.0], np.float32))
        least, greatest = METHODS["percentile"](seen)
        assert -0.01 < least < 0.01
        assert 0.95 < greatest < 1.1

    def test_least_error_gives_up_a_long_tail(self) -> None:
        values = np.random.default_rng(0).standard_t(2, 50_000).astype(np.float32)
        least, greatest = METHODS["least_error"](self.seen(values))
        assert values.min() < least < -5
        assert 5 < greatest < values.max()

    def test_evenly_spread_values_keep_their_range(self) -> None:
        seen = self.seen(np.linspace(-1, 3, 100_000).astype(np.float32))
        assert METHODS["least_error"](seen) == pytest.approx((-1, 3), rel=0.03)


class TestChoice:
    @pytest.fixture
    def exported(self, tiny_dataset: Dataset) -> tuple[NetworkDescription, bytes, ExportReport]:
        description = replace(
            describe(SEMANTIC, classes=3), mean=tiny_dataset.mean, std=tiny_dataset.std
        )
        return description, *export_network(trained(description), description, tiny_dataset.test)

    def test_the_least_divergent_method_is_kept(
        self, exported: tuple[NetworkDescription, bytes, ExportReport], tiny_dataset: Dataset
    ) -> None:
        description, model, _ = exported
        found = quantize_network(
            trained(description), description, tiny_dataset, model, calibration_images=12
        )
        assert {candidate.method for candidate in found.candidates} == set(METHODS)
        assert found.best.divergence == min(c.divergence for c in found.candidates)
        assert (found.calibration_images, found.held_out_images) == (12, 12)
        again = quantize_network(
            trained(description), description, tiny_dataset, model, calibration_images=12
        )
        assert (again.data, again.candidates) == (found.data, found.candidates)

    def test_narrow_weights_are_tried_only_where_much_is_lost(
        self,
        exported: tuple[NetworkDescription, bytes, ExportReport],
        tiny_dataset: Dataset,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        description, model, _ = exported
        monkeypatch.setattr(int8, "MAX_ACCURACY_DROP", -1.0)  # any accuracy is too little
        found = quantize_network(
            trained(description), description, tiny_dataset, model, calibration_images=12
        )
        assert Counter(c.weight_limit for c in found.candidates) == {
            limit: len(METHODS) for limit in int8.WEIGHT_LIMITS
        }

    def test_calibration_images_of_one_class_are_refused(
        self,
        exported: tuple[NetworkDescription, bytes, ExportReport],
        tiny_dataset: Dataset,
    ) -> None:
        description, model, _ = exported
        with pytest.raises(DataError, match="the 1 calibration images of tiny are of one class"):
            quantize_network(
                trained(description), description, tiny_dataset, model, calibration_images=1
            )

    @pytest.mark.parametrize(
        ("count", "asked", "used", "held_out"),
        [(24, 512, 20, 4), (24, 20, 20, 4), (24, 12, 12, 12), (3, 512, 2, 1), (2, 2, 1, 1)],
    )
    def test_a_part_of_few_images_is_kept_to_choose_by(
        self, tiny_dataset: Dataset, count: int, asked: int, used: int, held_out: int
    ) -> None:
        train = Split(tiny_dataset.train.images[:count], tiny_dataset.train.labels[:count])
        data = replace(tiny_dataset, train=train)
        if used < 2:
            with pytest.raises(DataError, match="INT8 needs images of all: add images"):
                choose_images(data, asked)
            return
        calibration, others = choose_images(data, asked)
        assert (len(calibration), len(others)) == (used, held_out)
        assert not set(calibration) & set(others)

    def test_a_set_of_one_class_is_refused(
        self, exported: tuple[NetworkDescription, bytes, ExportReport], tiny_dataset: Dataset
    ) -> None:
        description, model, _ = exported
        labels = np.full(24, 1)
        data = replace(tiny_dataset, train=Split(tiny_dataset.train.images, labels))
        with pytest.raises(DataError, match=r"of one class \(grey\).*--calibration-images"):
            quantize_network(trained(description), description, data, model, calibration_images=12)

    @pytest.mark.parametrize(
        ("accuracy", "int8_ms", "recommended", "reason"),
        [
            (0.895, 0.9, "int8", None),
            (0.89, 0.9, "fp32", "loses 1.00 points"),
            (0.90, 1.1, "fp32", "takes 1.100 ms on the CPU that exported it, fp32 1.000"),
        ],
    )
    def test_int8_is_recommended_where_it_is_faster_and_as_accurate(
        self,
        exported: tuple[NetworkDescription, bytes, ExportReport],
        tiny_dataset: Dataset,
        accuracy: float,
        int8_ms: float,
        recommended: str,
        reason: str | None,
    ) -> None:
        description, model, report = exported
        found = quantize_network(
            trained(description), description, tiny_dataset, model, calibration_images=12
        )

        def latency(ms: float) -> Latency:
            return Latency(
                latency_p50_ms=ms, latency_p99_ms=2 * ms, latency_min_ms=ms, runs=9, settled=True
            )

        judged = judge(
            found,
            replace(report, onnx_accuracy=0.9),
            accuracy,
            {"fp32": latency(1.0), "int8": latency(int8_ms)},
            1,
        )
        assert judged.recommended == recommended
        assert [reason in text for text in judged.reasons] == ([True] if reason else [])
        assert judged.file_size_bytes == len(found.data)


def test_models_are_timed_in_turns() -> None:
    description = describe(SEMANTIC)
    model = program_model(to_program(trained(description), description), description)
    data = model.SerializeToString()
    found = compare_latency({"a": data, "b": data}, 16, min_turns=3, max_seconds=0.05)
    assert found["a"].runs == found["b"].runs >= 1
    assert 0 < found["a"].latency_min_ms <= found["a"].latency_p50_ms <= found["a"].latency_p99_ms
    with pytest.raises(BenchError, match="b does not load"):
        compare_latency({"a": data, "b": b"nothing"}, 16)
    with pytest.raises(BenchError, match=r"a does not run: .*Got invalid dimensions"):
        compare_latency({"a": data}, 24)
