"""What follows from an ONNX node by itself, and from a list of them."""

from collections.abc import Sequence

import onnx

SAME_TENSOR = {"Identity", "Dropout"}
STANDARD_DOMAINS = ("", "ai.onnx")


def is_standard(node: onnx.NodeProto) -> bool:
    """Whether it is an operator of ONNX itself."""
    return node.domain in STANDARD_DOMAINS


def is_identity(node: onnx.NodeProto) -> bool:
    """Whether its output is its input, under another name."""
    whole = bool(node.input and node.output)
    return whole and is_standard(node) and node.op_type in SAME_TENSOR


def input_names(node: onnx.NodeProto) -> list[str]:
    """Its inputs, then what the graphs inside it (of If, Loop) read from outside."""
    outer: dict[str, None] = {}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            inside = [name for inner in graph.node for name in input_names(inner)]
            outer.update((name, None) for name in inside if name not in own)
    return [name for name in (*node.input, *outer) if name]


def reachable(nodes: Sequence[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that a runtime runs: those from which the output follows."""
    kept, read = [], {output}
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            read.update(input_names(node))
            kept.append(node)
    return kept[::-1]


def resolve_identities(nodes: Sequence[onnx.NodeProto], name: str) -> str:
    """The tensor that Identity and Dropout hand on as `name`."""
    same = {node.output[0]: node.input[0] for node in nodes if is_identity(node)}
    while name in same:
        name = same.pop(name)  # so that it ends in any file
    return name


def is_topological(nodes: Sequence[onnx.NodeProto], there: set[str]) -> bool:
    """Whether each tensor is made once, and before it is read; `there` are those at the start."""
    made = set(there)
    for node in nodes:
        names = {name for name in node.output if name}
        if not names or not made.issuperset(input_names(node)) or not made.isdisjoint(names):
            return False
        made |= names
    return True
