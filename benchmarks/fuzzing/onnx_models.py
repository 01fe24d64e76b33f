"""ONNX files: sound ones, and ones that protobuf can read but whose graph is changed."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzzing.harness import Target
from sdedge.deploy.board.bundle import sample
from sdedge.deploy.formats.onnx.metadata import read_metadata
from sdedge.deploy.formats.onnx.reader import contained
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.memory.plan import flash_bytes, plan_memory
from sdedge.deploy.targets.predict import predict
from sdedge.deploy.targets.target import load_target
from sdedge.errors import SdedgeError

_SIDE = 8
_NUMBERS = (0, 1, -1, 2, 3, 2**16, 2**31 - 1, 2**40, 2**62, -(2**63))


def target(folder: Path) -> Target:
    """All that reads a model: its graph, plan, prediction, metadata, and a bundle's run of it.

    Bytes that change at random seldom leave a file that protobuf reads, so two in three inputs are
    replaced by a sound model whose graph is changed, as follows from the input.
    """
    contained.SECONDS = 1.0
    path = folder / "model.onnx"
    devices = [load_target(name) for name in ("pi4", "cortex-m4")]
    models = (_plain(), _quantised(), _computed(), _foreign())
    sound = tuple(model.SerializeToString() for model in models)
    image = np.zeros((1, 3, _SIDE, _SIDE), np.float32)

    def read(data: bytes) -> None:
        rng = np.random.default_rng(zlib.crc32(data))
        if data not in sound and rng.random() < 2 / 3:
            data = _restructured(sound, rng)
        path.write_bytes(data)
        refusals: list[SdedgeError] = []
        for use in (
            lambda: _priced(path, devices),
            lambda: read_metadata(path),
            lambda: sample(data, image, path.name),
        ):
            try:
                use()
            except SdedgeError as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    return Target(sound, read, (SdedgeError,))


def _priced(path: Path, devices: list) -> None:
    graph = read_graph(path)
    for form in (graph, graph.as_int8()):
        plan_memory(form)
        flash_bytes(form)
        for device in devices:
            if form.precision in device.rates:
                predict(form, device, partial=True)


def _restructured(sound: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the models with one or two changes to its graph."""
    model = onnx.load_model_from_string(sound[int(rng.integers(len(sound)))])
    for _ in range(rng.integers(1, 3)):
        _CHANGES[int(rng.integers(len(_CHANGES)))](model, rng)
    data: bytes = model.SerializeToString()
    return data


def _weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.full(shape, 0.1, np.float32), name)


def _model(nodes: list[onnx.NodeProto], weights: list[TensorProto]) -> onnx.ModelProto:
    head = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head"], ["scores"], "head", transB=1),
    ]
    graph = helper.make_graph(
        [*nodes, *head],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, _SIDE, _SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])],
        [*weights, _weight("head", 4, 8)],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    preprocessing = (
        '{"image_size": 8, "mean": [0, 0, 0], "std": [1, 1, 1], "normalized_in_graph": false,'
        ' "resize": "bilinear"}'
    )
    helper.set_model_props(
        model,
        {
            "classes": '["a", "b", "c", "d"]',
            "preprocessing": preprocessing,
            "genotype": '{"normal": []}',
            "sdedge_version": "1",
        },
    )
    return model


def _plain() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["image", "stem"], ["a"], "stem", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Conv", ["b", "depthwise"], ["d"], pads=[1] * 4, group=8),
        helper.make_node("Add", ["c", "d"], ["e"], "add"),
        helper.make_node("Concat", ["e", "b"], ["f"], "concat", axis=1),
        helper.make_node("Conv", ["f", "narrow"], ["features"], "narrow"),
    ]
    shapes = {"stem": (8, 3, 3, 3), "depthwise": (8, 1, 3, 3), "narrow": (8, 16, 1, 1)}
    return _model(nodes, [_weight(name, *shape) for name, shape in shapes.items()])


def _quantised() -> onnx.ModelProto:
    parameters = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", *parameters], ["a"]),
        helper.make_node(
            "QLinearConv", ["a", *parameters, "w", "scale", "middle", *parameters], ["b"], "conv"
        ),
        helper.make_node(
            "QLinearAdd", ["b", *parameters, "b", *parameters, *parameters], ["c"],
            domain="com.microsoft",
        ),
        helper.make_node("DequantizeLinear", ["c", *parameters], ["features"]),
    ]  # fmt: skip
    constants = {
        "scale": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
        "middle": np.array(0, np.int8),
        "w": np.ones((8, 3, 1, 1), np.int8),
    }
    return _model(nodes, [numpy_helper.from_array(v, name) for name, v in constants.items()])


def _computed() -> onnx.ModelProto:
    """Weights and shapes that are computed, and a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go on"], ["go on too"]),
            helper.make_node("Relu", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go on too", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Transpose", ["hwio"], ["stem"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
        helper.make_node("Loop", ["times", "go", "a"], ["b"], "loop", body=body),
        helper.make_node("Shape", ["b"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["b", "zeros"], ["features"]),
    ]
    constants = [
        _weight("hwio", 3, 3, 3, 8),
        numpy_helper.from_array(np.array(3), "times"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    return _model(nodes, constants)


def _foreign() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
        helper.make_node(
            "FusedConv", ["a", "more"], ["b"], activation="Relu", domain="com.microsoft"
        ),
        helper.make_node("FastGelu", ["b"], ["features"], domain="com.microsoft"),
    ]
    return _model(nodes, [_weight("stem", 8, 3, 3, 3), _weight("more", 8, 8, 1, 1)])


def _node(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.NodeProto:
    return model.graph.node[int(rng.integers(len(model.graph.node)))]


def _some_name(model: onnx.ModelProto, rng: np.random.Generator) -> str:
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return names[int(rng.integers(len(names)))] if names else "image"


def _rewire(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """An input, or an output, becomes another tensor: cycles, too."""
    node = _node(model, rng)
    names = node.input if rng.random() < 0.7 else node.output
    if names:
        names[int(rng.integers(len(names)))] = _some_name(model, rng) if rng.random() < 0.9 else ""


def _drop(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.input, graph.output, _node(model, rng).input,
             _node(model, rng).output, _node(model, rng).attribute)  # fmt: skip
    part = parts[int(rng.integers(len(parts)))]
    if len(part) > (part is graph.node):
        del part[int(rng.integers(len(part)))]


def _repeat(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    model.graph.node.insert(int(rng.integers(len(model.graph.node))), _node(model, rng))


def _resize(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A weight of another shape or type."""
    weight = model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    if weight.dims and rng.random() < 0.7:
        weight.dims[int(rng.integers(len(weight.dims)))] = number
    else:
        weight.data_type = int(rng.integers(30))


def _reshape_input(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    dims = [d for value in model.graph.input for d in value.type.tensor_type.shape.dim]
    if not dims:
        return  # dropped before
    dims[int(rng.integers(len(dims)))].dim_value = _NUMBERS[int(rng.integers(len(_NUMBERS)))]


def _set_attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = _node(model, rng)
    name = node.attribute[0].name if node.attribute else "axis"
    del node.attribute[:]
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    values = (number, [number] * 4, float(number), "text", [], [float(number)])
    value = values[int(rng.integers(len(values)))]
    kind = onnx.AttributeProto.INTS if value == [] else None
    node.attribute.append(helper.make_attribute(name, value, attr_type=kind))


def _rename(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    types = (
        "Identity",
        "Reshape",
        "Loop",
        "If",
        "NonZero",
        "Resize",
        "QLinearConv",
        "Gelu",
        "Tile",
    )
    node = _node(model, rng)
    node.op_type = types[int(rng.integers(len(types)))]
    node.domain = ("", "", "com.microsoft", "lab")[int(rng.integers(4))]


def _set_constant(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A loop of 2**62 turns, a shape beyond all memory."""
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.INT64:
            value = np.array(_NUMBERS[int(rng.integers(len(_NUMBERS)))])
            weight.CopyFrom(numpy_helper.from_array(value, weight.name))


_CHANGES: tuple[Callable[[onnx.ModelProto, np.random.Generator], None], ...] = (
    _rewire, _rewire, _drop, _repeat, _resize, _reshape_input, _set_attribute, _rename,
    _set_constant,
)  # fmt: skip
