"""What the graph reader makes of ONNX files, held against onnxruntime and counts by hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from factories.exports import to_onnx
from factories.networks import describe
from factories.onnx_models import CONV, classifier, integers, read, types, weight
from sdedge.bounds import Stem
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.errors import ExportError
from sdedge.space.counting import count_network


def exported(genotype: str, **options: Any) -> bytes:
    torch.manual_seed(0)
    description = describe(genotype, channels=16, **options)
    data: bytes = to_onnx(description.build().eval(), description).SerializeToString()
    return data


def optimised(model: bytes, folder: Path, level: str) -> Counter[str]:
    """Operators as onnxruntime runs them, in the names of this package."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names: Counter[str] = Counter()
    for node in onnx.load(options.optimized_model_filepath).graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        name = node.op_type.removeprefix("Fused").removeprefix("QLinear")
        name = {"QGemm": "Gemm", "NhwcMaxPool": "MaxPool"}.get(name, name)
        blocked = node.domain == "com.microsoft.nchwc"
        added = "+Add" if name == "Conv" and len(node.input) == 4 and blocked else ""
        activation = attributes.get("activation", b"").decode()
        if not name.startswith("Reorder"):  # changes of layout
            names[name + added + (f"+{activation}" if activation else "")] += 1
    return names


class Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, size: int) -> None:
        generator = np.random.default_rng(0)
        shape = (1, 3, size, size)
        self._batches = iter([generator.standard_normal(shape, np.float32) for _ in range(2)])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


def quantised(model: bytes, folder: Path, form: QuantFormat, **options: Any) -> bytes:
    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(model)
    quantize_static(
        source,
        target,
        Images(16),
        quant_format=form,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        **options,
    )
    return target.read_bytes()


@pytest.mark.parametrize(
    ("genotype", "stem", "image_size"),
    [
        ("DARTS_V1", "cifar", 16),
        ("NASNet_A", "cifar", 15),  # 7x7 kernels, average pools, an odd size
        ("PC_DARTS_cifar", "imagenet", 64),
    ],
)
class TestExportedNetworks:
    def test_work_is_that_of_the_network(self, genotype: str, stem: Stem, image_size: int) -> None:
        description = describe(genotype, channels=16, stem=stem, image_size=image_size)
        graph = read_graph(exported(genotype, stem=stem, image_size=image_size))
        macs = count_network(description.build(), image_size).macs
        assert macs <= graph.macs < 1.01 * macs  # the export picks pixels with a convolution
        assert graph.classes == 5
        assert graph.values["input"].shape == (1, 3, image_size, image_size)
        assert not graph.unknown

    def test_operators_are_those_that_onnxruntime_runs(
        self, genotype: str, stem: Stem, image_size: int, tmp_path: Path
    ) -> None:
        model = exported(genotype, stem=stem, image_size=image_size)
        graph = read_graph(model)
        expected = optimised(model, tmp_path, "ORT_ENABLE_EXTENDED")
        assert expected["Conv+Relu"] > 0
        assert types(graph.operators) == expected


class TestQuantised:
    @pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
    def test_operators_are_the_int8_ones(self, form: QuantFormat, tmp_path: Path) -> None:
        plain = read_graph(exported("DARTS_V1"))
        graph = read_graph(quantised(exported("DARTS_V1"), tmp_path, form))
        assert graph.precision == "int8"
        assert graph.parameters == plain.parameters
        assert graph.macs == plain.macs
        floats = {o.op_type for o in graph.operators if o.precision == "fp32"}
        assert floats == {"QuantizeLinear", "DequantizeLinear"}
        assert graph.values["input"].precision == "fp32"
        inner = [name for name in graph.values if name not in (*graph.inputs, *graph.outputs)]
        assert {graph.values[name].precision for name in inner} == {"int8"}

    def test_both_forms_are_one_graph(self, tmp_path: Path) -> None:
        forms = [
            read_graph(quantised(exported("DARTS_V1"), tmp_path, form))
            for form in (QuantFormat.QDQ, QuantFormat.QOperator)
        ]
        # The quantiser drops other ReLUs in one form than in the other.
        work = [
            sorted((o.op_type, o.macs, o.input_bytes) for o in g.operators if o.op_type != "Relu")
            for g in forms
        ]
        assert work[0] == work[1]

    def test_operators_count_as_onnxruntime_counts_them(self, tmp_path: Path) -> None:
        model = quantised(exported("DARTS_V1"), tmp_path, QuantFormat.QDQ)
        expected = optimised(model, tmp_path, "ORT_ENABLE_EXTENDED")
        found = types(read_graph(model).operators)
        for name in ("Conv", "Add", "Concat", "MaxPool", "AveragePool", "Gemm", "Slice"):
            assert found[name] == expected[name], name

    def test_as_int8_has_the_bytes_of_the_quantised_file(self, tmp_path: Path) -> None:
        guessed = read_graph(exported("DARTS_V1")).as_int8()
        real = read_graph(quantised(exported("DARTS_V1"), tmp_path, QuantFormat.QDQ)).as_int8()
        assert guessed.weight_bytes == real.weight_bytes
        assert guessed.weight_bytes == sum(o.weight_bytes for o in guessed.operators)
        for graph in (guessed, real):
            assert {value.precision for value in graph.values.values()} == {"int8"}
            assert {operator.precision for operator in graph.operators} == {"int8"}
            assert not {"QuantizeLinear", "DequantizeLinear"} & {*types(graph.operators)}
            assert graph.values[graph.inputs[0]].size_bytes == 3 * 16 * 16
            made = {*graph.inputs}  # every tensor read has been made
            for operator in graph.operators:
                assert made.issuperset(operator.inputs)
                made.update(operator.outputs)
            assert made == {*graph.values}
        assert sum(o.output_bytes for o in guessed.operators if o.kind == "pointwise") == sum(
            o.output_bytes for o in real.operators if o.kind == "pointwise"
        )

    def test_as_int8_changes_nothing_the_second_time(self) -> None:
        graph = read_graph(exported("DARTS_V1")).as_int8()
        assert graph.as_int8() == graph

    def test_conversions_around_a_float_operator_stay(self, tmp_path: Path) -> None:
        model = quantised(
            exported("DARTS_V1"), tmp_path, QuantFormat.QDQ, op_types_to_quantize=["Conv"]
        )
        graph = read_graph(model)
        by_type = {o.op_type: o for o in graph.operators}
        assert by_type["Add"].precision == "fp32"
        assert by_type["Conv"].precision == "int8"
        found = types(graph.operators)
        assert found["QuantizeLinear"] > 1
        assert found["DequantizeLinear"] > 1
        assert {o.precision for o in graph.operators if "Linear" in o.op_type} == {"fp32"}

    def test_a_result_that_is_also_read_as_float_is_computed_in_float(self) -> None:
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["int8"]),
            helper.make_node("DequantizeLinear", ["int8", "scale", "zero"], ["rounded"]),
            helper.make_node("Conv", ["rounded", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["a8"]),
            helper.make_node("DequantizeLinear", ["a8", "scale", "zero"], ["b"]),
            helper.make_node("Sub", ["a", "b"], ["features"]),
        ]
        zero = numpy_helper.from_array(np.uint8(0), "zero")
        graph = read(classifier(nodes, [CONV[1], weight("scale"), zero]))
        assert {o.op_type: o.precision for o in graph.operators}["Conv"] == "fp32"
        found = types(graph.operators)
        assert found["QuantizeLinear"] == found["DequantizeLinear"] == 2
        assert graph.parameters == 216 + 32  # no scale, no zero point


class TestOperators:
    def test_kinds_and_work(self) -> None:
        nodes = [
            helper.make_node("Sub", ["image", "mean"], ["a"]),
            helper.make_node("Conv", ["a", "dense", "bias"], ["b"], pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Conv", ["b", "depthwise"], ["c"], pads=[1] * 4, group=8),
            helper.make_node("Conv", ["c", "pointwise"], ["d"]),
            helper.make_node("Conv", ["d", "grouped"], ["e"], pads=[1] * 4, group=2),
            helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Concat", ["f", "f"], ["g"], axis=1),
            helper.make_node("Conv", ["g", "narrow"], ["features"]),
        ]
        weights = [
            weight("mean", 1, 3, 1, 1),
            weight("dense", 8, 3, 3, 3),
            weight("bias", 8),
            weight("depthwise", 8, 1, 3, 3),
            weight("pointwise", 8, 8, 1, 1),
            weight("grouped", 8, 4, 3, 3),
            weight("narrow", 8, 16, 1, 1),
        ]
        graph = read(classifier(nodes, weights))
        found = {o.outputs[0]: (o.kind, o.macs, o.weight_bytes) for o in graph.operators}
        assert found == {
            "a": ("elementwise", 0, 4 * 3),
            "b": ("dense", 4 * 4 * 8 * 27, 4 * (216 + 8)),
            "c": ("depthwise", 4 * 4 * 8 * 9, 4 * 72),
            "d": ("pointwise", 4 * 4 * 8 * 8, 4 * 64),
            "e": ("dense", 4 * 4 * 8 * 36, 4 * 288),
            "f": ("pooling", 0, 0),
            "g": ("movement", 0, 0),
            "features": ("pointwise", 2 * 2 * 8 * 16, 4 * 128),
            "pooled": ("pooling", 0, 0),
            "flat": ("movement", 0, 0),
            "scores": ("linear", 8 * 4, 4 * 32),
        }
        operators = {o.outputs[0]: o for o in graph.operators}
        assert operators["g"].input_bytes == operators["g"].output_bytes == 4 * 2 * 8 * 2 * 2
        assert operators["flat"].input_bytes == operators["flat"].output_bytes == 0
        assert graph.as_int8().weight_bytes == (graph.weight_bytes - 4 * 8) // 4 + 4 * 8

    def test_tensors_are_named_after_what_makes_them(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["0"], "first", pads=[1] * 4),
            helper.make_node("Relu", ["0"], ["1"], "second"),
            helper.make_node("Celu", ["1"], ["2"], "twice"),
            helper.make_node("Celu", ["2"], ["features"], "twice"),
        ]
        graph = read(classifier(nodes, [CONV[1]]))
        assert list(graph.values)[:4] == ["image", "first", "2", "features"]
        assert graph.operators[1].inputs == ("first",)
        assert graph.outputs == ("scores",)

    def test_a_weight_of_two_operators_is_stored_once(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("Conv", ["a", "shared"], ["b"]),
            helper.make_node("Conv", ["b", "shared"], ["features"]),
        ]
        model = classifier(nodes, [weight("stem", 8, 3, 3, 3), weight("shared", 8, 8, 1, 1)])
        graph = read(model)
        assert graph.parameters == 216 + 64 + 32
        assert graph.weight_bytes == 4 * graph.parameters
        assert graph.as_int8().weight_bytes == graph.parameters

    def test_what_the_output_does_not_need_is_left_out(self) -> None:
        nodes = [
            CONV[0],
            helper.make_node("Relu", ["features"], ["unread"]),
            helper.make_node("Conv", ["unread", "more"], ["unread too"]),
        ]
        graph = read(classifier(nodes, [CONV[1], weight("more", 8, 8, 1, 1)]))
        assert graph == replace(read(classifier([CONV[0]], [CONV[1]])), file_size_bytes=ANY)

    @pytest.mark.parametrize("op_type", ["Identity", "Dropout"])
    def test_what_hands_the_scores_on_is_no_operator(self, op_type: str) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node(op_type, ["raw"], ["scores"]))
        graph = read(model)
        assert types(graph.operators) == types(read(classifier([CONV[0]], [CONV[1]])).operators)
        assert graph.outputs == ("raw",)

    def test_batch_norm_and_activation_become_part_of_the_convolution(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["c"]),
            helper.make_node("Identity", ["c"], ["d"]),
            helper.make_node("Clip", ["d", "low", "high"], ["features"]),
        ]
        norm = [weight(name, 8) for name in "gbmv"]
        bounds = [weight(name) for name in ("low", "high")]
        graph = read(classifier(nodes, [weight("stem", 8, 3, 3, 3), *norm, *bounds]))
        first = graph.operators[0]
        assert (first.op_type, first.outputs) == ("Conv+Clip", (first.name,))
        assert (first.weight_bytes, first.bias_bytes) == (4 * (216 + 8), 4 * 8)
        assert {"c", "d", "features"}.isdisjoint(graph.values)  # named after the operator

    def test_an_activation_of_a_tensor_read_twice_stays(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["features"]),
        ]
        graph = read(classifier(nodes, [weight("stem", 8, 3, 3, 3)]))
        assert types(graph.operators)["Relu"] == 1

    def test_a_reshape_to_a_computed_shape_is_free(self) -> None:
        graph = read(_reshaped(opset=14))
        assert types(graph.operators) == {"Conv": 1, "Reshape": 1, "Gemm": 1}
        assert graph.parameters == 216 + 4 * 512

    def test_a_shape_that_onnx_does_not_look_into_is_taken_from_a_run(self) -> None:
        graph = read(_reshaped(opset=13))  # onnx looks into computed shapes from 14 on
        assert graph == replace(read(_reshaped(opset=14)), file_size_bytes=ANY)


def _reshaped(opset: int) -> onnx.ModelProto:
    """As exporters write x.view(len(x), -1)."""
    nodes = [
        CONV[0],
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["images"]),
        helper.make_node("Concat", ["images", "rest"], ["long_shape"], axis=0),
        helper.make_node("Reshape", ["features", "long_shape"], ["long"]),
        helper.make_node("Gemm", ["long", "wide"], ["scores"], transB=1),
    ]
    weights = [CONV[1], integers("first", 0), integers("rest", -1), weight("wide", 4, 512)]
    model = classifier([], weights)
    del model.graph.node[:], model.graph.initializer[-1]
    model.graph.node.extend(nodes)
    model.opset_import[0].version = opset
    return model


class TestUnknownOperators:
    def test_that_hold_graphs_read_what_these_read(self) -> None:
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        branches = {
            f"{name}_branch": helper.make_graph(
                [helper.make_node(op_type, ["a"], ["r"])], name, [], [result]
            )
            for name, op_type in (("then", "Relu"), ("else", "Neg"))
        }
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("If", ["switch"], ["features"], **branches),
        ]
        switch = numpy_helper.from_array(np.array(True), "switch")
        graph = read(classifier(nodes, [CONV[1], switch]))
        assert graph.unknown == {"If": 1}
        assert graph.operators[1].inputs == ("a",)

    def test_of_onnx_are_counted(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("Celu", ["a"], ["b"]),
            helper.make_node("Celu", ["b"], ["features"]),
        ]
        graph = read(classifier(nodes, [CONV[1]]))
        assert graph.unknown == {"Celu": 2}

    def test_of_other_domains_without_a_shape_are_refused(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node("Sharpen", ["a"], ["features"], "edges", domain="lab"),
        ]
        with pytest.raises(
            ExportError, match=r"shape of 'features', the result of lab\.Sharpen 'edges', is not "
        ) as caught:
            read(classifier(nodes, [CONV[1]], domains=["lab"]))
        assert "lab:Sharpen(-1) is not a registered function" in str(caught.value)
        assert "with that shape stored in the file" in str(caught.value)

    def test_of_other_domains_have_the_shape_that_the_file_gives(self) -> None:
        nodes = [
            helper.make_node("Shrink2", ["image"], ["a"], domain="lab"),
            helper.make_node("Conv", ["a", "stem"], ["features"], pads=[1] * 4),
        ]
        model = classifier(nodes, [CONV[1]], domains=["lab"])
        stored = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 3, 4, 4])
        model.graph.value_info.append(stored)
        graph = read(model)
        assert graph.values["features"].shape == (1, 8, 4, 4)
        assert graph.unknown == {"lab.Shrink2": 1}


class TestOtherFiles:
    def test_old_files_name_their_weights_as_inputs(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        expected = read(model)
        model.ir_version = 3
        model.graph.input.extend(
            helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            for weight in model.graph.initializer
        )
        assert read(model) == replace(expected, file_size_bytes=ANY)

    def test_qlinear_operators_of_one_name(self) -> None:
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["a"]),
            *(
                helper.make_node(
                    "QLinearConv",
                    [x, "scale", "zero", f"w{y}", "scale", "middle", "scale", "zero"],
                    [y],
                    "same",
                    strides=[stride] * 2,
                )
                for x, y, stride in (("a", "b", 2), ("b", "c", 1))
            ),
            helper.make_node("DequantizeLinear", ["c", "scale", "zero"], ["features"]),
        ]
        constants = {
            "scale": np.float32(1),
            "zero": np.uint8(0),
            "middle": np.int8(0),
            "wb": np.ones((8, 3, 1, 1), np.int8),
            "wc": np.ones((8, 8, 1, 1), np.int8),
        }
        weights = [numpy_helper.from_array(v, name) for name, v in constants.items()]
        graph = read(classifier(nodes, weights))
        convs = [o for o in graph.operators if o.op_type == "Conv"]
        assert [(o.inputs, o.outputs) for o in convs] == [(("a",), ("b",)), (("b",), ("c",))]
        assert [o.macs for o in convs] == [8 * 4 * 4 * 3, 8 * 4 * 4 * 8]


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"gone\.onnx does not exist.*sdedge export"):
            read_graph(tmp_path / "gone.onnx")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match="cannot be read"):
            read_graph(tmp_path)

    def test_cut_short_anywhere(self, tmp_path: Path) -> None:
        whole = exported("DARTS_V1")
        file = tmp_path / "cut.onnx"
        for length in (0, 1, 7, 100, 5000, *range(1000, len(whole), 20_011), len(whole) - 1):
            file.write_bytes(whole[:length])
            with pytest.raises(ExportError, match=r"cut\.onnx is cut short.*whole \.onnx file"):
                read_graph(file)

    @pytest.mark.parametrize("junk", [b"PK\x03\x04" * 50, b"not a model", bytes(range(256)) * 4])
    def test_something_else(self, junk: bytes) -> None:
        with pytest.raises(ExportError, match="not an ONNX file"):
            read_graph(junk)

    def test_not_valid(self) -> None:
        model = classifier([helper.make_node("Conv", ["nowhere", "stem"], ["features"])], [CONV[1]])
        with pytest.raises(ExportError, match="not valid ONNX"):
            read(model)

    def test_scores_that_do_not_depend_on_the_image(self) -> None:
        model = classifier([CONV[0]], [CONV[1], weight("same", 1, 4)])
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node("Identity", ["same"], ["scores"]))
        with pytest.raises(ExportError, match="output does not depend on the image"):
            read(model)

    def test_two_inputs(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        model.graph.input.append(
            helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, 8, 8])
        )
        with pytest.raises(ExportError, match=r"not an image classifier.*2 inputs.*'depth'"):
            read(model)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 3, 8), r"shape \(1, 3, 8\), not \(batch, channels, height, width\)"),
            ((8, 3, 8, 8), "batches of 8; export it with a free batch"),
            (
                ("batch", 3, "height", "width"),
                r"\(batch, 3, height, width\); name .* --shape",
            ),
        ],
    )
    def test_other_inputs(self, shape: Sequence[int | str], message: str) -> None:
        with pytest.raises(ExportError, match=message):
            read(classifier([CONV[0]], [CONV[1]], shape=shape))

    @pytest.mark.parametrize("batch", ["N", None, 1, -1])
    def test_any_batch_that_can_be_one_is_read(self, batch: int | str | None) -> None:
        graph = read(classifier([CONV[0]], [CONV[1]], shape=(batch, 3, 8, 8)))
        assert graph.values["image"].shape == (1, 3, 8, 8)

    def test_a_feature_map_as_output(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        del model.graph.node[-3:]
        features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 8, 8, 8])
        model.graph.output[0].CopyFrom(features)
        with pytest.raises(ExportError, match=r"'features' \(1, 8, 8, 8\).*two classes"):
            read(model)

    def test_one_class(self) -> None:
        with pytest.raises(ExportError, match=r"'scores' \(1, 1\)"):
            read(classifier([CONV[0]], [CONV[1]], classes=1))

    def test_half_precision(self) -> None:
        model = classifier([CONV[0]], [CONV[1]], element=TensorProto.FLOAT16)
        with pytest.raises(ExportError, match="float16; export it in float32"):
            read(model)


class TestWeightsBesideTheFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "model.onnx"
        onnx.save_model(
            onnx.load_from_string(exported("DARTS_V1")),
            file,
            save_as_external_data=True,
            location="model.data",
            size_threshold=0,
        )
        return file

    def test_are_counted(self, file: Path) -> None:
        inside, beside = read_graph(exported("DARTS_V1")), read_graph(file)
        assert beside.weight_bytes == inside.weight_bytes
        assert beside.file_size_bytes == sum(part.stat().st_size for part in file.parent.iterdir())

    def test_do_not_hide_a_graph_that_is_not_valid(self, file: Path) -> None:
        model = onnx.load(file, load_external_data=False)
        model.graph.node[3].input[0] = "nowhere"
        file.write_bytes(model.SerializeToString())
        with pytest.raises(ExportError, match=r"not valid ONNX.*nowhere"):
            read_graph(file)

    def test_that_are_cut_short_are_named(self, file: Path) -> None:
        data = file.parent / "model.data"
        data.write_bytes(data.read_bytes()[:-1])
        with pytest.raises(ExportError, match=r"in model\.data, which is damaged"):
            read_graph(file)

    def test_that_are_missing_are_named(self, file: Path) -> None:
        (file.parent / "model.data").unlink()
        with pytest.raises(ExportError, match=r"model\.onnx keeps its weights in model\.data"):
            read_graph(file)
