"""A network as a list of ONNX nodes and their constants, while it is being prepared for its file.

Tensors have telling names here. In the file they are numbered: a name is written once for every
node that reads it, and in a small network all those names together outweigh some of the layers.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import sdedge

INPUT = "input"
OUTPUT = "logits"
BATCH = "batch"
# No node here needs more, and 13 is the first with INT8 weights scaled by channel; onnxruntime
# reads it since 1.6 (2020).
OPSET = 13
IR_VERSION = 7


@dataclass(frozen=True, kw_only=True)
class Node:
    """One ONNX node; its output bears its name."""

    op_type: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Program:
    """Nodes in an order in which they can run, and the constants they read."""

    def __init__(self, constants: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = dict(constants or {})
        self.output = INPUT
        self._outputs: dict[tuple[object, ...], str] = {}

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """The output of this node: `name`, or that of an earlier node that computes the same."""
        key = (op_type, *inputs, *sorted(attributes.items()))
        if key not in self._outputs:
            self._outputs[key] = name
            self.nodes.append(
                Node(op_type=op_type, inputs=tuple(inputs), output=name, attributes=attributes)
            )
        self.output = self._outputs[key]
        return self.output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A constant; one of the same name is stored once."""
        self.constants.setdefault(name, values)
        return name

    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor."""
        readers = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def makers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {node.output: node for node in self.nodes}

    def copy(self) -> "Program":
        """The same nodes; constants can be exchanged in it without changing this one."""
        result = Program(self.constants)
        for node in self.nodes:
            result.node(node.op_type, node.inputs, node.output, **node.attributes)
        return result

    def replaced(self, node: Node, drop: Collection[Node], by: Iterable[Node]) -> "Program":
        """The same with the nodes `by` in the place of `node`, and without those in `drop`."""
        result, same = Program(self.constants), dict[str, str]()
        for old in self.nodes:
            if any(old is dropped for dropped in drop):
                continue
            for new in by if old is node else (old,):
                inputs = [same.get(name, name) for name in new.inputs]
                made = result.node(new.op_type, inputs, new.output, **new.attributes)
                same[new.output] = made
        result.output = same.get(self.output, self.output)
        return result

    def to_model(
        self,
        image_size: int,
        classes: int,
        metadata: dict[str, str],
        *,
        node_names: bool = True,
        extra: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """The ONNX model for any batch size: float32 (batch, 3, S, S) in, (batch, classes) out.

        The float tensors named in `extra` are outputs too, after the class scores.
        """
        short = {INPUT: INPUT, self.output: OUTPUT}
        free = (np.base_repr(number, 36) for number in itertools.count())
        nodes = [_node_proto(node, short, free, named=node_names) for node in self.nodes]
        constants = [
            numpy_helper.from_array(values, short[name])
            for name, values in self.constants.items()
            if name in short
        ]
        image, logits = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape])
            for name, shape in ((INPUT, (3, image_size, image_size)), (OUTPUT, (classes,)))
        )
        others = [
            helper.make_tensor_value_info(short[name], onnx.TensorProto.FLOAT, None)
            for name in extra
        ]
        model = helper.make_model(
            helper.make_graph(nodes, "network", [image], [logits, *others], constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="sdedge",
            producer_version=sdedge.__version__,
        )
        helper.set_model_props(model, metadata)
        return model


def _node_proto(
    node: Node, short: dict[str, str], free: Iterator[str], *, named: bool
) -> onnx.NodeProto:
    """The node with the names in `short`, which grows by those it is the first to use."""
    for name in (*node.inputs, node.output):
        if name not in short:
            short[name] = next(free)
    return helper.make_node(
        node.op_type,
        [short[name] for name in node.inputs],
        [short[node.output]],
        node.output if named else None,
        **node.attributes,
    )
