"""Small ONNX models, as other tools write them, and what the reader makes of them."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import Graph, Operator


def weight(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return numpy_helper.from_array(values, name)


def integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def classifier(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[TensorProto] = (),
    *,
    shape: Sequence[int | str | None] = ("batch", 3, 8, 8),
    classes: int = 4,
    domains: Sequence[str] = (),
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from `image` through `nodes`, whose last result is `features`, to `scores`."""
    head = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head"], ["scores"], transB=1),
    ]
    features = 8
    graph = helper.make_graph(
        [*nodes, *head],
        "test",
        [helper.make_tensor_value_info("image", element, shape)],
        [helper.make_tensor_value_info("scores", element, ["batch", classes])],
        [*weights, weight("head", classes, features)],
    )
    opsets = [helper.make_opsetid(domain, 1 if domain else 13) for domain in ("", *domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


CONV = (
    helper.make_node("Conv", ["image", "stem"], ["features"], pads=[1, 1, 1, 1]),
    weight("stem", 8, 3, 3, 3),
)


def read(model: onnx.ModelProto) -> Graph:
    return read_graph(model.SerializeToString())


def types(operators: Sequence[Operator]) -> Counter[str]:
    return Counter(operator.op_type for operator in operators)
