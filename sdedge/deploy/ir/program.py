"""A network as a list of nodes and their constants: what every format is written from.

Operators and their attributes are those of ONNX, by name; tensors are named after what makes them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

INPUT = "input"
OUTPUT = "logits"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator at work; its output bears its name."""

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
