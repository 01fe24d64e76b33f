"""Rewrite a network into fewer and faster nodes that compute the same.

A cell adds two branches a node, and both often do the same to different inputs. What they share is
done once, on the concatenation of their inputs: the weights and the work stay, launches go. In
INT8 this also leaves out roundings, and a depthwise convolution of twice the channels takes little
longer than one, because half of its time goes into finding the pixels.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdedge.deploy.ir.program import Node, Program

_Makers = dict[str, Node]


def optimize_graph(program: Program) -> Program:
    """The same network: ReLUs moved before concatenations, equal branches merged."""
    program = _rectify_before_concat(program)
    for rewrite in (_sum_in_one_conv, _concat_before_equals):
        while (better := _first(rewrite, program)) is not None:
            program = better
    return program


def _rectify_before_concat(program: Program) -> Program:
    """Relu(Concat(a, b)) as Concat(Relu(a), Relu(b)).

    The nodes of a cell are rectified for its other nodes anyway, and runtimes fuse a ReLU with the
    sum before it, but not with a concatenation.
    """
    readers = program.readers()
    result, same = Program(program.constants), dict[str, str]()
    rectified = set()
    for node in program.nodes:
        inputs = [same.get(name, name) for name in node.inputs]
        if node.op_type == "Relu" and inputs[0] in rectified:
            same[node.output] = inputs[0]
            continue
        read_by = {reader.op_type for reader in readers[node.output]}
        if node.op_type == "Concat" and read_by == {"Relu"}:
            inputs = [result.node("Relu", [name], f"{name}.relu") for name in inputs]
            rectified.add(node.output)
        same[node.output] = result.node(node.op_type, inputs, node.output, **node.attributes)
    return result


def _first(
    rewrite: Callable[[Program, Node, list[Node]], list[Node] | None], program: Program
) -> Program | None:
    """The program with the first node rewritten that can be, with the nodes it alone reads."""
    makers, readers = program.makers(), program.readers()
    for node in program.nodes:
        sources = [makers[name] for name in node.inputs if name in makers]
        alone = all(len(readers[source.output]) == 1 for source in sources)
        if alone and len(sources) == len(node.inputs) > 1:
            new = rewrite(program, node, sources)
            if new is not None:
                return program.replaced(node, sources, new)
    return None


def _sum_in_one_conv(program: Program, node: Node, sources: list[Node]) -> list[Node] | None:
    """Add(Conv(a), Conv(b)) as Conv(Concat(a, b))."""
    if node.op_type != "Add" or not _equal_convs(sources) or "group" in sources[0].attributes:
        return None
    weights = [program.constants[source.inputs[1]] for source in sources]
    if len({(weight.shape[0], weight.shape[2:]) for weight in weights}) > 1:
        return None
    name = node.output
    inputs = [f"{name}.in", program.constant(f"{name}.weight", np.concatenate(weights, axis=1))]
    if len(sources[0].inputs) > 2:
        bias = sum(program.constants[source.inputs[2]] for source in sources)
        inputs.append(program.constant(f"{name}.bias", np.asarray(bias)))
    return [
        _concat(sources, f"{name}.in"),
        replace(sources[0], inputs=tuple(inputs), output=name),
    ]


def _concat_before_equals(program: Program, node: Node, sources: list[Node]) -> list[Node] | None:
    """Concat(f(a), f(b)) as f(Concat(a, b)): f a ReLU, a depthwise or a pointwise convolution.

    Pointwise convolutions of different weights become the groups of one.
    """
    if node.op_type != "Concat":
        return None
    name = node.output
    concat = _concat(sources, f"{name}.in")
    if all(source.op_type == "Relu" for source in sources):
        return [concat, replace(sources[0], inputs=(concat.output,), output=name)]
    if not _equal_convs(sources):
        return None
    weights = [program.constants[source.inputs[1]] for source in sources]
    attributes = dict(sources[0].attributes)
    if attributes.get("group") == weights[0].shape[0] and weights[0].shape[1] == 1:
        attributes["group"] = sum(len(weight) for weight in weights)
    elif not attributes and len({weight.shape for weight in weights}) == 1:
        attributes["group"] = len(weights)
    else:
        return None
    inputs = [concat.output]
    for position, kind in enumerate(("weight", "bias")[: len(sources[0].inputs) - 1], start=1):
        parts = [program.constants[source.inputs[position]] for source in sources]
        inputs.append(program.constant(f"{name}.{kind}", np.concatenate(parts)))
    return [concat, replace(sources[0], inputs=tuple(inputs), output=name, attributes=attributes)]


def _concat(sources: list[Node], name: str) -> Node:
    inputs = tuple(source.inputs[0] for source in sources)
    return Node(op_type="Concat", inputs=inputs, output=name, attributes={"axis": 1})


def _equal_convs(sources: list[Node]) -> bool:
    """Whether all are convolutions that differ in nothing but their weights."""
    first = sources[0]
    return all(
        source.op_type == "Conv"
        and source.attributes == first.attributes
        and len(source.inputs) == len(first.inputs)
        for source in sources
    )
