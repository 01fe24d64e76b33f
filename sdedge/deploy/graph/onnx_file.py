"""An ONNX image classifier as its file has it: nodes, shapes for one image, constants.

What comes out is plain: functions inlined, QLinear* operators written out as
DequantizeLinear -> operator -> QuantizeLinear, nodes that the output does not need left out, every
tensor with a shape at batch 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper
from onnx.external_data_helper import load_external_data_for_model
from onnx.inliner import inline_local_functions

from sdedge.deploy.graph.qlinear import written_out
from sdedge.errors import ExportError

_WAY_OUT = "give a whole .onnx file, such as `sdedge export` writes"
SAME_TENSOR = {"Identity", "Dropout"}
STANDARD_DOMAINS = ("", "ai.onnx")
_WEIGHTS_ARE_NO_INPUTS = 4  # from this IR version on
_WRONG_FLOATS: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True)
class Tensor:
    """A tensor's shape and its element type, one of onnx.TensorProto's."""

    shape: tuple[int, ...]
    element: int

    @property
    def size_bytes(self) -> int:
        """Of its elements."""
        bits = 4 if self.element in (TensorProto.INT4, TensorProto.UINT4) else 0
        width = bits or 8 * helper.tensor_dtype_to_np_dtype(self.element).itemsize
        return (self.elements * width + 7) // 8

    @property
    def elements(self) -> int:
        """How many there are."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """An image classifier's nodes in the file's order."""

    nodes: Sequence[onnx.NodeProto]
    tensors: Mapping[str, Tensor]  # of the input and every node's outputs, for one image
    constants: Mapping[str, Tensor]
    input: str
    output: str
    file_size_bytes: int  # with weights kept beside the file
    source: str  # its name, for messages


def load_classifier(model: Path | bytes) -> Classifier:
    """Read an ONNX classifier: one image input of four dimensions, one output (N, classes).

    Raises ExportError naming the file and the way out when it is missing, cut short, not ONNX, not
    an image classifier, made for a fixed batch other than 1, or lacks its external weights.
    """
    source = str(model) if isinstance(model, Path) else "the model"
    data = _read(model, source)
    proto = _parse(data, source)
    external = _load_external(proto, model.parent if isinstance(model, Path) else None, source)
    _check(proto, source)
    if proto.functions:
        proto = inline_local_functions(proto)
    image = _only_input(proto, source)
    del proto.graph.input[:]
    proto.graph.input.append(image)
    proto.ir_version = max(proto.ir_version, _WEIGHTS_ARE_NO_INPUTS)
    nodes = [plain for node in proto.graph.node for plain in written_out(node)]
    tensors = _infer(proto, nodes, source)
    constants = {
        weight.name: Tensor(tuple(weight.dims), weight.data_type)
        for weight in proto.graph.initializer
    }
    _refuse_half_precision([*tensors.values(), *constants.values()], source)
    output = _handed_on(nodes, _only_output(proto, tensors, source))
    return Classifier(
        nodes=_needed(nodes, output),
        tensors=tensors,
        constants=constants,
        input=image.name,
        output=output,
        file_size_bytes=len(data) + external,
        source=source,
    )


def _read(model: Path | bytes, source: str) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        return model.read_bytes()
    except FileNotFoundError:
        raise ExportError(f"{source} does not exist; make one with `sdedge export`") from None
    except OSError as error:
        raise ExportError(f"{source} cannot be read: {error.strerror or error}") from error


def _parse(data: bytes, source: str) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ExportError(f"{source} is cut short or is not an ONNX file; {_WAY_OUT}") from error
    if not proto.graph.node or not proto.opset_import:
        raise ExportError(f"{source} is cut short or holds no ONNX graph; {_WAY_OUT}")
    return proto


def _check(proto: onnx.ModelProto, source: str) -> None:
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{source} is not valid ONNX ({reason}); {_WAY_OUT}") from error


def _is_external(weight: TensorProto) -> bool:
    return bool(weight.data_location == TensorProto.EXTERNAL)


def _load_external(proto: onnx.ModelProto, folder: Path | None, source: str) -> int:
    """Load the weights that lie in other files, and give the size of these files in bytes."""
    files = {
        entry.value
        for weight in proto.graph.initializer
        if _is_external(weight)
        for entry in weight.external_data
        if entry.key == "location"
    }
    if not files:
        return 0
    remedy = "copy that file there, or export the model into one file"
    missing = [name for name in sorted(files) if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise ExportError(
            f"{source} keeps its weights in {missing[0]}, which is not beside it; {remedy}"
        )
    try:
        load_external_data_for_model(proto, str(folder))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        names = ", ".join(sorted(files))
        raise ExportError(f"{source} keeps its weights in {names}, which is damaged") from error
    return sum((folder / name).stat().st_size for name in files)


def _only_input(proto: onnx.ModelProto, source: str) -> onnx.ValueInfoProto:
    """The image input, its batch set to 1."""
    constants = {weight.name for weight in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ExportError(
            f"{source} is not an image classifier: it has {len(inputs)} inputs ({names}); give a "
            "model of one image input"
        )
    image: onnx.ValueInfoProto = inputs[0]
    dims = image.type.tensor_type.shape.dim
    shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
    if len(dims) != 4:
        raise ExportError(
            f"{source} is not an image classifier: its input {image.name!r} has the shape "
            f"{_text(shape)}, not (batch, channels, height, width)"
        )
    if not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        raise ExportError(
            f"{source}: its input {image.name!r} has the shape {_text(shape)}; export it for one "
            "image size"
        )
    if isinstance(shape[0], int) and shape[0] > 1:
        raise ExportError(
            f"{source} is made for batches of {shape[0]}; export it with a free batch, or with a "
            "batch of 1"
        )
    dims[0].dim_value = 1
    return image


def _only_output(proto: onnx.ModelProto, tensors: Mapping[str, Tensor], source: str) -> str:
    names: list[str] = [value.name for value in proto.graph.output]
    for name in names:
        if name not in tensors:
            raise no_shape(name, source)
    shapes = [tensors[name].shape for name in names]
    if len(names) != 1 or len(shapes[0]) != 2 or shapes[0][1] < 2:
        found = (f"{n!r} {_text(shape)}" for n, shape in zip(names, shapes, strict=True))
        raise ExportError(
            f"{source} is not an image classifier: its outputs are {', '.join(found) or 'none'}; "
            "give a model of one output (batch, classes) with two classes or more"
        )
    return names[0]


def _handed_on(nodes: Sequence[onnx.NodeProto], name: str) -> str:
    """The tensor that Identity and Dropout hand on as `name`."""
    same = {node.output[0]: node.input[0] for node in nodes if node.op_type in SAME_TENSOR}
    while name in same:
        name = same[name]
    return name


def _needed(nodes: Sequence[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that a runtime runs: those from which the output follows."""
    needed, read = [], {output}
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            read.update(names_read(node))
            needed.append(node)
    return needed[::-1]


def names_read(node: onnx.NodeProto) -> list[str]:
    """Its inputs, then what the graphs inside it (of If, Loop) read from outside."""
    outer: dict[str, None] = {}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            inside = [name for inner in graph.node for name in names_read(inner)]
            outer.update((name, None) for name in inside if name not in own)
    return [*node.input, *outer]


def no_shape(tensor: str, source: str) -> ExportError:
    """The error for a tensor whose shape cannot be known before the model runs."""
    return ExportError(
        f"{source}: the shape of its tensor {tensor!r} does not follow from the shape of the image;"
        " export it with opset 14 or later, for one image size"
    )


def _text(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _infer(
    proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], source: str
) -> dict[str, Tensor]:
    """Every tensor's shape for one image. The graph's own nodes and shapes are replaced."""
    graph = proto.graph
    stored = {value.name: value for value in graph.value_info}
    del graph.node[:], graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    for node in nodes:
        if node.domain in STANDARD_DOMAINS:
            graph.node.append(node)
        elif node.output and node.output[0] in stored:
            graph.value_info.extend(
                _one_image(stored[name]) for name in node.output if name in stored
            )
        elif node.input and node.output:
            # Nobody knows what it does: it is taken to keep its input's shape.
            graph.node.append(helper.make_node("Identity", node.input[:1], node.output[:1]))
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise ExportError(f"{source}: the shapes of its tensors do not fit together") from error
    tensors = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        if tensor.HasField("shape") and all(size > 0 for size in shape):
            tensors[value.name] = Tensor(shape, tensor.elem_type)
    return tensors


def _one_image(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    for dim in value.type.tensor_type.shape.dim[:1]:
        if not dim.dim_value:
            dim.dim_value = 1
    return value


def _refuse_half_precision(tensors: Sequence[Tensor], source: str) -> None:
    for tensor in tensors:
        if tensor.element in _WRONG_FLOATS:
            raise ExportError(
                f"{source} computes in {_WRONG_FLOATS[tensor.element]}; export it in float32, or "
                "quantise it to int8"
            )
