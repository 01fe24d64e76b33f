"""QLinear operators written out in the operators of plain ONNX."""

from collections.abc import Iterator

import onnx
from onnx import helper

# QLinear operators: the operator inside, the first operand's place (each is a tensor, its scale and
# its zero point), the place of the output's scale, and of an int32 bias. A concat's operands run to
# the end.
_QLINEAR: dict[str, tuple[str, tuple[int, ...], int, int | None]] = {
    "QLinearConv": ("Conv", (0, 3), 6, 8),
    "QLinearMatMul": ("MatMul", (0, 3), 6, None),
    "QGemm": ("Gemm", (0, 3), 7, 6),
    "QLinearAdd": ("Add", (0, 3), 6, None),
    "QLinearMul": ("Mul", (0, 3), 6, None),
    "QLinearAveragePool": ("AveragePool", (0,), 3, None),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,), 3, None),
    "QLinearLeakyRelu": ("LeakyRelu", (0,), 3, None),
    "QLinearSigmoid": ("Sigmoid", (0,), 3, None),
    "QLinearSoftmax": ("Softmax", (0,), 3, None),
    "QLinearConcat": ("Concat", (), 0, None),
}
_OWN_ATTRIBUTES = {"channels_last", "opset"}  # of QLinear operators alone


def written_out(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node itself, or a QLinear operator as DequantizeLinear -> operator -> QuantizeLinear."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    channels_last = attributes.get("channels_last")
    if node.op_type not in _QLINEAR or (channels_last is not None and channels_last.i):
        yield node
        return
    op_type, operands, scale, bias = _QLINEAR[node.op_type]
    result = node.output[0]  # names of nodes need not differ
    if op_type == "Concat":
        operands = tuple(range(2, len(node.input), 3))
    inputs = []
    for place in operands:
        inputs.append(f"{result}/operand{place}")
        yield helper.make_node("DequantizeLinear", node.input[place : place + 3], inputs[-1:])
    if bias is not None and len(node.input) > bias and node.input[bias]:
        inputs.append(node.input[bias])
    quantised = len(node.input) > scale and bool(node.input[scale])
    output = f"{result}/float" if quantised else result
    plain = helper.make_node(op_type, inputs, [output], node.name or result)
    plain.attribute.extend(a for key, a in attributes.items() if key not in _OWN_ATTRIBUTES)
    yield plain
    if quantised:
        parameters = node.input[scale : scale + 2]
        yield helper.make_node("QuantizeLinear", [output, *parameters], [result])
