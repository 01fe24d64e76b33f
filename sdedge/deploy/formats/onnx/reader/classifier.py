"""An ONNX image classifier as its file has it: nodes, shapes for one image, constants.

What comes out is plain: functions inlined, QLinear* operators written out as
DequantizeLinear -> operator -> QuantizeLinear, nodes that the output does not need left out, every
tensor with a shape at batch 1.
"""

import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from sdedge.deploy.formats.onnx.reader import contained, native
from sdedge.deploy.formats.onnx.reader.native import NativeError
from sdedge.deploy.formats.onnx.reader.nodes import (
    STANDARD_DOMAINS,
    is_topological,
    reachable,
    resolve_identities,
)
from sdedge.deploy.formats.onnx.reader.qlinear import expand_operators
from sdedge.deploy.formats.onnx.reader.shapes import Native, ShapeReader
from sdedge.deploy.formats.onnx.reader.tensor import Tensor, is_tensor, shape_text, tensor_of
from sdedge.deploy.formats.onnx.reader.weights import detach_weights
from sdedge.errors import ExportError
from sdedge.escape import printable

_WAY_OUT = "give a whole .onnx file, such as `sdedge export` writes"
MAX_NODES = 20_000
_MAX_FILE_BYTES = 2**31 - 1  # of a protobuf message
_WEIGHTS_ARE_NO_INPUTS = 4  # from this IR version on


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


def load_classifier(
    model: Path | bytes, image: Sequence[int] | None = None, *, origin: Path | None = None
) -> Classifier:
    """Read an ONNX classifier: one image input of four dimensions, one output (N, classes).

    `image` gives the three dimensions after the batch, for a file that leaves them open. `origin`
    is the file that bytes were read from. A file is taken to be from outside: native code sees it
    in a process of its own; a model in memory is taken to be made here. Raises ExportError naming
    the file and the way out when it is missing, cut short, not ONNX, not an image classifier, made
    for a fixed batch other than 1, or lacks its external weights.
    """
    if isinstance(model, Path):
        origin, model = model, read_file(model)
    source = "the model" if origin is None else printable(str(origin))
    run: Native = native.perform if origin is None else contained.run
    folder = None if origin is None else origin.parent
    proto = parse_model(model, source)
    _check_versions(proto, source)
    weights, external = detach_weights(proto.graph, folder, source)
    constants = {w.name: tensor_of(w) for w in (*weights, *proto.graph.initializer)}
    value = _only_input(proto, constants, source)
    _fix_shape(value, image, source)
    proto = _checked(proto, source, run)
    nodes = [plain for node in proto.graph.node for plain in expand_operators(node)]
    output = resolve_identities(nodes, _only_output(proto, source))
    nodes = reachable(nodes, output)
    if not nodes:
        raise constant_scores(source)
    if not is_topological(nodes, {value.name, *constants}):
        raise ExportError(
            f"{source} is damaged: its nodes read what is not there yet, or make a tensor twice; "
            "export it again"
        )
    tensors = ShapeReader(proto, weights, folder, source, run).tensors(nodes, value.name)
    _check_scores(output, tensors, source)
    return Classifier(
        nodes=nodes,
        tensors=tensors,
        constants=constants,
        input=value.name,
        output=output,
        file_size_bytes=len(model) + external,
        source=source,
    )


def read_file(path: Path) -> bytes:
    """The bytes of an ONNX file; ExportError for what cannot be read, or is no file."""
    source = printable(str(path))
    try:
        facts = path.stat()
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
            raise ExportError(f"{source} cannot be read: it is no file; {_WAY_OUT}")
        if facts.st_size > _MAX_FILE_BYTES:
            raise ExportError(
                f"{source} is over 2 GiB, which no ONNX file is; {_WAY_OUT}, or export it with "
                "external weights"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ExportError(f"{source} does not exist; make one with `sdedge export`") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{source} cannot be read: {reason}") from error


def parse_model(data: bytes, source: str) -> onnx.ModelProto:
    """The file as protobuf has it; ExportError for one that is damaged, or has too many nodes."""
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ExportError(f"{source} is cut short or is not an ONNX file; {_WAY_OUT}") from error
    if not proto.graph.node or not proto.opset_import:
        raise ExportError(f"{source} is cut short or holds no ONNX graph; {_WAY_OUT}")
    if len(proto.graph.node) > MAX_NODES:
        raise ExportError(
            f"{source} has {len(proto.graph.node):,} nodes; sdedge reads up to {MAX_NODES:,}"
        )
    # protobuf gives what is no UTF-8 as bytes.
    wrong = next((text for text in _texts(proto.graph) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ExportError(
            f"{source} is damaged: the name {wrong!r} is no UTF-8; copy or export it again"
        )
    return proto


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    """The names in a graph and in those inside it."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for weight in graph.initializer:
        yield weight.name
        for entry in weight.external_data:
            yield from (entry.key, entry.value)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for inner in (attribute.g, *attribute.graphs):
                yield from _texts(inner)


def _check_versions(proto: onnx.ModelProto, source: str) -> None:
    """Refuse what is newer than the installed onnx, and make old files name weights as new ones."""
    newest = onnx.defs.onnx_opset_version()
    opsets = [entry.version for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS]
    for what, version, known in (
        ("IR version", proto.ir_version, onnx.IR_VERSION),
        ("opset", max(opsets, default=0), newest),
    ):
        if version > known:
            raise ExportError(
                f"{source} has {what} {version}, and onnx {onnx.__version__} reads up to {known}; "
                f"install a newer onnx, or export it with {what} {known} or lower"
            )
    proto.ir_version = max(proto.ir_version, _WEIGHTS_ARE_NO_INPUTS)


def _checked(proto: onnx.ModelProto, source: str, run: Native) -> onnx.ModelProto:
    """The model once onnx's checker has accepted it, its functions inlined."""
    try:
        data = run("checked", proto.SerializeToString())
    except (NativeError, EncodeError) as error:
        reason = printable(str(error))
        raise ExportError(f"{source} is not valid ONNX ({reason}); export it again") from error
    return parse_model(data, source)


def _only_input(
    proto: onnx.ModelProto, constants: Container[str], source: str
) -> onnx.ValueInfoProto:
    """The image input."""
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ExportError(
            f"{source} is not an image classifier: it has {len(inputs)} inputs ({names}); give a "
            "model of one image input"
        )
    image: onnx.ValueInfoProto = inputs[0]
    return image


def _fix_shape(value: onnx.ValueInfoProto, image: Sequence[int] | None, source: str) -> None:
    """Set the input's batch to 1, and the dimensions that the file leaves open to those given."""
    dims = value.type.tensor_type.shape.dim
    shape = [dim.dim_value or printable(dim.dim_param) or "?" for dim in dims]
    stated = f"its input {value.name!r} has the shape {shape_text(shape)}"
    if len(dims) != 4:
        raise ExportError(
            f"{source} is not an image classifier: {stated}, not (batch, channels, height, width)"
        )
    if isinstance(shape[0], int) and shape[0] > 1:
        raise ExportError(
            f"{source} is made for batches of {shape[0]}; export it with a free batch, or with a "
            "batch of 1"
        )
    fixed = [size if isinstance(size, int) and size > 0 else None for size in shape[1:]]
    if image is None and None in fixed:
        raise ExportError(
            f"{source}: {stated}; name one image size with --shape, as in --shape 3,224,224, or "
            "export it for one"
        )
    wanted = fixed if image is None else [*image]
    if len(wanted) != 3 or any(
        size not in (None, given) for size, given in zip(fixed, wanted, strict=True)
    ):
        raise ExportError(
            f"{source}: {stated}, which --shape {','.join(map(str, wanted))} contradicts"
        )
    sizes, element = [1, *(size or 0 for size in wanted)], value.type.tensor_type.elem_type
    if min(sizes) < 1 or not is_tensor(sizes, element):
        raise ExportError(
            f"{source}: its input {value.name!r} of shape {shape_text(sizes)} and element type "
            f"{element} is no image; export it again"
        )
    for dim, size in zip(dims, sizes, strict=True):
        dim.dim_value = size


def _only_output(proto: onnx.ModelProto, source: str) -> str:
    names: list[str] = [value.name for value in proto.graph.output]
    if len(names) != 1:
        found = ", ".join(map(repr, names)) or "none"
        raise ExportError(
            f"{source} is not an image classifier: it has {len(names)} outputs ({found}); give a "
            "model of one output (batch, classes)"
        )
    return names[0]


def constant_scores(source: str) -> ExportError:
    """The error for a model that gives the same for every image."""
    return ExportError(
        f"{source} is not an image classifier: its output does not depend on the image; give a "
        "model that computes its scores from it"
    )


def _check_scores(output: str, tensors: Mapping[str, Tensor], source: str) -> None:
    """(1, classes), or (1, classes, 1, 1) as a convolution and a pooling leave them."""
    shape = tensors[output].shape
    if len(shape) < 2 or shape[0] != 1 or shape[1] < 2 or any(size != 1 for size in shape[2:]):
        raise ExportError(
            f"{source} is not an image classifier: its output is {output!r} {shape_text(shape)}; "
            "give a model of one output (batch, classes) with two classes or more"
        )
