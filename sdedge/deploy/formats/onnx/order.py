"""Write the nodes of a file in the order that needs the least memory.

Interpreters such as TFLite Micro run operators as they are stored, so that a plan holds for a file
only in the order of the file.
"""

from collections.abc import Sequence

import onnx

from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.memory.plan import plan_memory


def in_best_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with its nodes in the order of `plan_memory`; nothing else changes.

    For models that sdedge wrote. Raises ExportError as `read_graph` does.
    """
    plan = plan_memory(read_graph(model.SerializeToString()))
    nodes = list(model.graph.node)
    places = _places(nodes, plan.order)
    reordered = onnx.ModelProto()
    reordered.CopyFrom(model)
    del reordered.graph.node[:]
    reordered.graph.node.extend(nodes[i] for i in sorted(range(len(nodes)), key=places.__getitem__))
    return reordered


def _places(nodes: Sequence[onnx.NodeProto], order: Sequence[str]) -> list[int]:
    """For each node, the place in `order` of the operator that it is part of.

    An activation and a QuantizeLinear are part of what they read, a DequantizeLinear of the first
    operator that reads it. Nodes of one operator keep their order.
    """
    planned = {name: place for place, name in enumerate(order)}
    place: dict[str, int] = {}  # by tensor
    dequantized: dict[str, int] = {}  # by tensor, the place planned for it, or one past the end
    for node in nodes:
        name = node.name or node.output[0]
        before = max((place[tensor] for tensor in node.input if tensor in place), default=0)
        place[node.output[0]] = planned.get(name, before)
        if node.op_type == "DequantizeLinear":
            dequantized[node.output[0]] = planned.get(name, len(order))
    for tensor, latest in dequantized.items():  # the plan may have a reader of the bytes in between
        readers = (place[node.output[0]] for node in nodes if tensor in node.input)
        place[tensor] = min(latest, *readers)
    return [place[node.output[0]] for node in nodes]
