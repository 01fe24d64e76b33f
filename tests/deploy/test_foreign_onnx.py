"""ONNX files as other tools leave them: what is read of them, and what is said of them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from factories.onnx_models import CONV, classifier, integers, read, types, weight
from sdedge.deploy.formats.onnx.metadata import read_metadata
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.memory.plan import plan_memory
from sdedge.deploy.targets.predict import predict
from sdedge.deploy.targets.target import load_target
from sdedge.errors import ExportError, TargetError

PLAIN = (
    helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
    helper.make_node("Conv", ["a", "depthwise"], ["features"], pads=[1] * 4, group=8),
)
PLAIN_WEIGHTS = (weight("stem", 8, 3, 3, 3), weight("depthwise", 8, 1, 3, 3))


def transposed(op_type: str, source: str, result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, [source], [result], **attributes)


def zero(name: str, dtype: Any) -> TensorProto:
    return numpy_helper.from_array(np.array(0, dtype), name)


class TestWeightsThatAreComputed:
    def test_hwio_kernels_cost_what_oihw_kernels_do(self) -> None:
        # As TensorFlow's converter leaves them: HWIO, or HWCM for a depthwise convolution.
        nodes = [
            transposed("Transpose", "hwio", "stem", perm=[3, 2, 0, 1]),
            transposed("Transpose", "hwcm", "turned", perm=[2, 3, 0, 1]),
            helper.make_node("Reshape", ["turned", "oihw"], ["depthwise"]),
            *PLAIN,
        ]
        weights = [weight("hwio", 3, 3, 3, 8), weight("hwcm", 3, 3, 8, 1)]
        found = read(classifier(nodes, [*weights, integers("oihw", 8, 1, 3, 3)]))
        assert found == replace(read(classifier(PLAIN, PLAIN_WEIGHTS)), file_size_bytes=ANY)
        assert [o.kind for o in found.operators[:2]] == ["dense", "depthwise"]
        assert found.macs == 64 * 8 * 27 + 64 * 8 * 9 + 32

    def test_a_matrix_may_be_on_either_side_and_turned(self) -> None:
        head = [
            helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "column"], ["x"]),  # (8, 1)
            helper.make_node("MatMul", ["left", "x"], ["y"]),  # (16, 8) x (8, 1)
            helper.make_node("Gemm", ["y", "right"], ["scores"], transA=1),  # (1, 16) x (16, 4)
        ]
        weights = [weight("left", 16, 8), weight("right", 16, 4), integers("column", 8, 1)]
        model = classifier([CONV[0]], [CONV[1], *weights])
        del model.graph.node[1:]
        model.graph.node.extend(head)
        macs = {o.op_type: o.macs for o in read(model).operators}
        assert (macs["MatMul"], macs["Gemm"]) == (16 * 8, 16 * 4)

    def test_weights_that_a_runtime_makes_count_as_it_makes_them(self) -> None:
        nodes = [
            helper.make_node("Mul", ["raw", "scale"], ["stem"]),
            helper.make_node(
                "ConstantOfShape", ["depthwise shape"], ["ones"],
                value=numpy_helper.from_array(np.ones(1, np.float32)),
            ),
            helper.make_node("Cast", ["ones"], ["depthwise"], to=TensorProto.FLOAT),
            *PLAIN,
        ]  # fmt: skip
        weights = [weight("raw", 8, 3, 3, 3), weight("scale", 8, 1, 1, 1)]
        graph = read(classifier(nodes, [*weights, integers("depthwise shape", 8, 1, 3, 3)]))
        assert graph.parameters == 216 + 72 + 32
        assert graph.weight_bytes == 4 * graph.parameters

    def test_weights_alone_in_int8_are_not_made_smaller_twice(self) -> None:
        nodes = [helper.make_node("DequantizeLinear", ["int8", "scale"], ["stem"]), CONV[0]]
        int8 = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.int8), "int8")
        graph = read(classifier(nodes, [int8, weight("scale")]))
        assert graph.operators[0].weight_bytes == 216
        assert graph.as_int8().weight_bytes == 216 + 32


class TestElements:
    def test_float64_takes_eight_bytes_and_has_no_rate(self) -> None:
        graph = read(as_double(classifier([CONV[0]], [CONV[1]])))
        plain = read(classifier([CONV[0]], [CONV[1]]))
        assert graph.weight_bytes == 2 * plain.weight_bytes
        assert plan_memory(graph).peak_ram_bytes == 2 * plan_memory(plain).peak_ram_bytes
        assert graph.operators[0].output_bytes == 8 * 8 * 8 * 8
        assert graph.unknown["Conv in double"] == 1
        with pytest.raises(TargetError, match=r"no cost model for .*1 Conv in double"):
            predict(graph, load_target("pi4"))
        assert graph.as_int8() == replace(plain.as_int8(), file_size_bytes=ANY)

    def test_16_bit_activations_take_two_bytes_and_have_no_rate(self) -> None:
        def quantised(source: str, result: str) -> list[onnx.NodeProto]:
            parameters = ["scale", "zero"]
            return [
                helper.make_node(
                    "QuantizeLinear", [source, *parameters], [f"{source} q"], domain="com.microsoft"
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{source} q", *parameters], [result],
                    domain="com.microsoft",
                ),
            ]  # fmt: skip

        nodes = [
            *quantised("image", "x"),
            helper.make_node("Conv", ["x", "stem"], ["y"], pads=[1] * 4),
            *quantised("y", "features"),
        ]
        weights = [CONV[1], weight("scale"), zero("zero", np.uint16)]
        graph = read(classifier(nodes, weights, domains=["com.microsoft"]))
        conv = next(o for o in graph.operators if o.op_type == "Conv")
        assert (conv.input_bytes, conv.output_bytes) == (2 * 3 * 8 * 8, 2 * 8 * 8 * 8)
        assert graph.unknown == {"Conv in uint16": 1}

    def test_half_precision_weights_of_a_float_network_are_two_bytes_each(self) -> None:
        half = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float16), "half")
        nodes = [helper.make_node("Cast", ["half"], ["stem"], to=TensorProto.FLOAT), CONV[0]]
        assert read(classifier(nodes, [half])).operators[0].weight_bytes == 2 * 216


def as_double(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float64), tensor.name))
    return model


class TestFusedOperators:
    @pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
    def test_what_onnxruntime_saves_is_read_as_what_it_was(
        self, level: str, tmp_path: Path
    ) -> None:
        nodes = [
            helper.make_node(
                "Conv", ["image", "stem", "bias"], ["a"], pads=[1] * 4, strides=[2, 2]
            ),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "more"], ["features"]),
        ]
        weights = [weight("stem", 16, 3, 3, 3), weight("bias", 16), weight("more", 8, 16, 1, 1)]
        model = classifier(nodes, weights).SerializeToString()
        file = tmp_path / "optimised.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 4
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        graph, plain = read_graph(file), read_graph(model)
        assert max(v.size_bytes for v in graph.values.values()) == 4 * 16 * 4 * 4
        if level == "ORT_ENABLE_EXTENDED":
            assert types(graph.operators) == types(plain.operators)
            assert (graph.macs, graph.parameters) == (plain.macs, plain.parameters)

    def test_a_sum_in_a_convolution_is_a_sum(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node(
                "FusedConv", ["a", "more", "bias", "a"], ["features"],
                activation="Relu", domain="com.microsoft",
            ),
        ]  # fmt: skip
        weights = [CONV[1], weight("more", 8, 8, 1, 1), weight("bias", 8)]
        graph = read(classifier(nodes, weights, domains=["com.microsoft"]))
        assert types(graph.operators)["Add"] == types(graph.operators)["Relu"] == 1
        assert not graph.unknown

    def test_an_activation_that_is_no_text(self) -> None:
        node = helper.make_node(
            "FusedConv", ["image", "stem"], ["features"], activation=[1], domain="com.microsoft",
            pads=[1] * 4,
        )  # fmt: skip
        graph = read(classifier([node], [CONV[1]], domains=["com.microsoft"]))
        assert types(graph.operators)["Conv"] == 1

    def test_an_operator_of_onnxruntime_has_the_shape_that_it_makes(self) -> None:
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
            helper.make_node(
                "NhwcMaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2],
                domain="com.microsoft",
            ),
        ]  # fmt: skip
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["a"]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
            nodes[1],
            helper.make_node("Transpose", ["c"], ["d"], perm=[0, 3, 1, 2]),
            helper.make_node("DequantizeLinear", ["d", "scale", "zero"], ["e"]),
            helper.make_node("Conv", ["e", "stem"], ["features"], pads=[1] * 4),
        ]
        weights = [CONV[1], weight("scale"), zero("zero", np.uint8)]
        graph = read(classifier(nodes, weights, domains=["com.microsoft"]))
        assert graph.values["c"].shape == (1, 4, 4, 3)
        assert graph.unknown == {"com.microsoft.NhwcMaxPool": 1}

    def test_an_identity_of_another_domain_is_no_identity(self) -> None:
        nodes = [CONV[0], helper.make_node("Identity", ["features"], ["x"], domain="lab")]
        model = classifier(nodes, [CONV[1]], domains=["lab"])
        model.graph.node[2].input[0] = "x"
        with pytest.raises(ExportError, match=r"result of lab\.Identity"):
            read(model)


class TestScores:
    def test_of_a_pooled_convolution_are_scores(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])  # SqueezeNet ends so
        del model.graph.node[2:]
        model.graph.node[1].output[0] = "scores"
        model.graph.output[0].CopyFrom(
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 8, 1, 1])
        )
        assert read(model).classes == 8

    def test_two_outputs_are_named(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        model.graph.output.append(
            helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["batch", 8])
        )
        with pytest.raises(ExportError, match=r"it has 2 outputs \('scores', 'flat'\)"):
            read(model)


class TestImageSize:
    OPEN = ("batch", 3, "height", "width")

    def test_that_is_open_is_given(self, tmp_path: Path) -> None:
        model = classifier([CONV[0]], [CONV[1]], shape=self.OPEN).SerializeToString()
        graph = read_graph(model, (3, 8, 8))
        assert graph == replace(read(classifier([CONV[0]], [CONV[1]])), file_size_bytes=ANY)

    def test_that_contradicts_the_file(self) -> None:
        model = classifier([CONV[0]], [CONV[1]]).SerializeToString()
        assert read_graph(model, (3, 8, 8)).classes == 4
        with pytest.raises(ExportError, match=r"\(batch, 3, 8, 8\), which --shape 3,9,8 contra"):
            read_graph(model, (3, 9, 8))

    @pytest.mark.parametrize("size", [0, -8, 2**40])
    def test_that_no_image_has(self, size: int) -> None:
        model = classifier([CONV[0]], [CONV[1]], shape=self.OPEN).SerializeToString()
        with pytest.raises(ExportError, match="is no image"):
            read_graph(model, (3, size, 8))

    def test_that_is_too_small(self) -> None:
        pool = helper.make_node("MaxPool", ["image"], ["p"], kernel_shape=[9, 9])
        model = classifier([pool, CONV[0]], [CONV[1]])
        model.graph.node[1].input[0] = "p"
        with pytest.raises(ExportError, match=r"tensor p is empty .* \(1, 3, 0, 0\)"):
            read(model)

    def test_that_the_shapes_depend_on_the_pixels(self) -> None:
        nodes = [
            helper.make_node("NonZero", ["image"], ["where"], "find"),
            helper.make_node("Cast", ["where"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float"], ["mean"]),
            helper.make_node("Add", ["image", "mean"], ["x"]),
            helper.make_node("Conv", ["x", "stem"], ["features"], pads=[1] * 4),
        ]
        with pytest.raises(ExportError, match=r"NonZero 'find'.*depends on what the image shows"):
            read(classifier(nodes, [CONV[1]]))


class TestVersions:
    def test_a_newer_ir_version(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        model.ir_version = 99
        with pytest.raises(ExportError, match=r"IR version 99, and onnx .*; install a newer onnx"):
            read(model)

    def test_a_newer_opset(self) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        model.opset_import[0].version = 999
        with pytest.raises(ExportError, match=r"opset 999, and onnx .* export it with opset \d+"):
            read(model)

    def test_the_checker_s_reason_is_whole(self) -> None:
        node = helper.make_node("Conv", ["nowhere", "stem"], ["features"], "first")
        with pytest.raises(ExportError) as caught:
            read(classifier([node], [CONV[1]]))
        assert "'nowhere' of node: name: first OpType: Conv" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestWeightsElsewhere:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        file = folder / "model.onnx"
        proto = classifier([CONV[0]], [CONV[1]])
        onnx.save_model(proto, file, save_as_external_data=True, location="w.bin", size_threshold=0)
        return file

    def moved(self, model: Path, location: str) -> Path:
        proto = onnx.load(model, load_external_data=False)
        for tensor in proto.graph.initializer:
            entry = next(e for e in tensor.external_data if e.key == "location")
            entry.value = location
        model.write_bytes(proto.SerializeToString())
        return model

    @pytest.mark.parametrize("absolute", [False, True])
    def test_outside_the_folder(self, model: Path, absolute: bool) -> None:
        (model.parent / "w.bin").rename(model.parents[1] / "w.bin")
        location = str(model.parents[1] / "w.bin") if absolute else "../w.bin"
        with pytest.raises(ExportError, match=r"outside the model's folder.*into one file"):
            read_graph(self.moved(model, location))

    def test_behind_a_link_that_leads_outside(self, model: Path) -> None:
        (model.parent / "w.bin").rename(model.parents[1] / "w.bin")
        os.symlink(model.parents[1] / "w.bin", model.parent / "w.bin")
        with pytest.raises(ExportError, match="a link that leads outside"):
            read_graph(model)

    @pytest.mark.parametrize("value", ["x", "-1", "9" * 5000, "1e3"])
    def test_at_a_place_that_is_no_number(self, model: Path, value: str) -> None:
        proto = onnx.load(model, load_external_data=False)
        entries = proto.graph.initializer[0].external_data
        next(entry for entry in entries if entry.key == "offset").value = value
        model.write_bytes(proto.SerializeToString())
        with pytest.raises(ExportError, match="a place that is no number"):
            read_graph(model)

    def test_their_shapes_are_used_where_they_are_small(self, model: Path) -> None:
        proto = onnx.load(model)
        proto.graph.node.insert(0, helper.make_node("Reshape", ["flat stem", "shape"], ["stem"]))
        stem = proto.graph.initializer[0]
        stem.CopyFrom(weight("flat stem", 216))
        proto.graph.initializer.append(integers("shape", 8, 3, 3, 3))
        onnx.save_model(
            proto, model, save_as_external_data=True, location="w2.bin", size_threshold=0
        )
        assert read_graph(model).macs == 64 * 8 * 27 + 32


class TestNames:
    def test_that_are_no_utf8(self, tmp_path: Path) -> None:
        data = classifier(
            [helper.make_node("Conv", ["image", "stem"], ["features"], "NAME", pads=[1] * 4)],
            [CONV[1]],
        ).SerializeToString()
        with pytest.raises(ExportError, match=r"b'\\xff\\xfeME' is no UTF-8"):
            read_graph(data.replace(b"NAME", b"\xff\xfeME"))

    def test_that_a_terminal_would_obey(self) -> None:
        node = helper.make_node("Conv", ["image", "stem"], ["features"], "a\x1b[2Jb", pads=[1] * 4)
        assert read(classifier([node], [CONV[1]])).operators[0].name == r"a\x1b[2Jb"

    @pytest.mark.parametrize("dims", [(-1, 3), (2**62, 2**62), (2**40, 2)])
    def test_weights_of_impossible_sizes(self, dims: Sequence[int]) -> None:
        huge = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=dims)
        with pytest.raises(ExportError, match=r"its weight huge has shape"):
            read(classifier([CONV[0]], [CONV[1], huge]))


class TestMetadata:
    @pytest.mark.parametrize("value", ['{"image_size": 1e9}', "[]", "\x1b[2J", "NOTUTF8"])
    def test_that_no_export_wrote(self, tmp_path: Path, value: str) -> None:
        model = classifier([CONV[0]], [CONV[1]])
        helper.set_model_props(model, {"classes": '["a"]', "preprocessing": value})
        file = tmp_path / "model.onnx"
        file.write_bytes(model.SerializeToString().replace(b"NOTUTF8", b"\xff" * 7))
        with pytest.raises(ExportError, match="does not say how to prepare its images"):
            read_metadata(file)
