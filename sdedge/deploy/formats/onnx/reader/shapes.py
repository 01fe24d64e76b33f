"""The shape of every tensor for one image: as onnx infers it, else as ONNX Runtime makes it.

onnx follows shapes through the file without running it, which ends at shapes that are computed in
ways it does not look into, and at operators that are not ONNX's. There ONNX Runtime runs the model
on two images; what has the same shape in both is taken. Nothing is guessed.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import onnx
from onnx import helper

from sdedge.deploy.formats.onnx.reader.native import NativeError
from sdedge.deploy.formats.onnx.reader.nodes import input_names, is_standard
from sdedge.deploy.formats.onnx.reader.tensor import Tensor, is_tensor, tensor_of
from sdedge.errors import ExportError
from sdedge.escape import printable

Native = Callable[..., bytes]  # native.perform, or contained.run
# Operators outside ONNX whose output has the shape of their first input, by their documentation.
_SAME_SHAPE = {("com.microsoft", name) for name in ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")}
_MAX_RUN_BYTES = 2**30  # of weights, for a run


class ShapeReader:
    """Finds the shapes of a model that was checked; `weights` were set aside from it."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        weights: Sequence[onnx.TensorProto],
        folder: Path | None,
        source: str,
        run: Native,
    ) -> None:
        self._proto = proto
        self._weights = weights
        self._folder = folder
        self._source = source
        self._run = run

    def tensors(self, nodes: Sequence[onnx.NodeProto], image: str) -> dict[str, Tensor]:
        """Of the image and of all that `nodes` make; ExportError naming a node where that fails."""
        stated = self._stated(nodes)
        tensors = self._inferred(nodes, image, stated)
        if not any(_unknown(nodes, tensors)):
            return tensors
        reason = "it depends on what the image shows"
        ran: dict[str, Tensor] = {}
        try:
            ran = self._of_a_run()
        except NativeError as error:
            reason = f"ONNX Runtime does not run the model: {printable(str(error))}"
        tensors = self._inferred(nodes, image, {**stated, **ran})
        for node, name in _unknown(nodes, tensors):
            raise self._no_shape(node, name, reason)
        return tensors

    def _stated(self, nodes: Sequence[onnx.NodeProto]) -> dict[str, Tensor]:
        """What the file says of results of operators outside ONNX, its batch taken as 1."""
        foreign = {n for node in nodes if not is_standard(node) for n in node.output}
        stated = {}
        for value in self._proto.graph.value_info:
            if value.name in foreign:
                one = onnx.ValueInfoProto()
                one.CopyFrom(value)
                for dim in one.type.tensor_type.shape.dim[:1]:
                    dim.dim_value = dim.dim_value or 1
                tensor = _tensor(one)
                if tensor is not None:
                    stated[value.name] = tensor
        return stated

    def _inferred(
        self, nodes: Sequence[onnx.NodeProto], image: str, known: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What onnx infers from what is `known`, and that."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        graph = proto.graph
        del graph.node[:], graph.value_info[:]
        for node in nodes:
            if is_standard(node):
                graph.node.append(node)
            elif (node.domain, node.op_type) in _SAME_SHAPE and node.input:
                graph.node.append(helper.make_node("Identity", node.input[:1], node.output[:1]))
        names = {value.name for value in graph.output}
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")
            if output.name in known:
                output.CopyFrom(_value(output.name, known[output.name]))
        graph.value_info.extend(_value(n, known[n]) for n in sorted(known) if n not in names)
        try:
            data = self._run("inferred", proto.SerializeToString())
        except NativeError as error:
            raise ExportError(
                f"{self._source}: the shapes of its tensors do not fit together "
                f"({printable(str(error))}); export it again"
            ) from error
        inferred = onnx.load_model_from_string(data).graph
        made = {image, *(name for node in nodes for name in node.output)}
        values = chain(inferred.input, inferred.value_info, inferred.output)
        found = ((value.name, _tensor(value)) for value in values if value.name in made)
        return {name: tensor for name, tensor in found if tensor is not None}

    def _of_a_run(self) -> dict[str, Tensor]:
        """What ONNX Runtime makes of two images; NativeError where it does not run the model."""
        if sum(tensor_of(weight).size_bytes for weight in self._weights) > _MAX_RUN_BYTES:
            raise NativeError("its weights take more than 1 GiB")
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        aside = {weight.name for weight in self._weights}
        inputs = [value for value in proto.graph.input if value.name not in aside]
        del proto.graph.input[:]
        proto.graph.input.extend(inputs)
        proto.graph.initializer.extend(self._weights)
        folder = b"" if self._folder is None else os.fsencode(self._folder)
        ran = json.loads(self._run("shapes_of_a_run", proto.SerializeToString(), folder))
        return {
            name: Tensor(tuple(shape), element)
            for name, (shape, element) in ran.items()
            if is_tensor(shape, element)
        }

    def _no_shape(self, node: onnx.NodeProto, name: str, reason: str) -> ExportError:
        """The error for a tensor whose shape cannot be known."""
        foreign = not is_standard(node)
        operator = printable(f"{node.domain}.{node.op_type}" if foreign else node.op_type)
        remedy = "export it with operators of ONNX, or with that shape stored in the file"
        return ExportError(
            f"{self._source}: the shape of {name!r}, the result of {operator} "
            f"{node.name or node.output[0]!r}, is not known: {reason}; "
            f"{remedy if foreign else 'export it for images of one size, without that operator'}"
        )


def _unknown(
    nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[onnx.NodeProto, str]]:
    """The results without a shape that some node reads, or that are the last."""
    read = {*nodes[-1].output, *(name for node in nodes for name in input_names(node))}
    missing = read - tensors.keys() - {""}
    for node in nodes:
        yield from ((node, name) for name in node.output if name in missing)


def _tensor(value: onnx.ValueInfoProto) -> Tensor | None:
    """None where its type or a size is not known."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    shape = tuple(dim.dim_value for dim in dims)
    known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return Tensor(shape, tensor.elem_type) if known and is_tensor(shape, tensor.elem_type) else None


def _value(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, tensor.element, tensor.shape)
