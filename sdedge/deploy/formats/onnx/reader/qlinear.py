"""QLinear operators, and what ONNX Runtime fuses, written out in the operators of plain ONNX."""

from collections.abc import Iterator

import onnx
from onnx import helper

from sdedge.deploy.formats.onnx.reader.nodes import STANDARD_DOMAINS

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
_MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
# ONNX's own, but that ONNX Runtime's take 16-bit elements in older opsets, too.
_SAME_AS_ONNX = {"QuantizeLinear", "DequantizeLinear"}
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm"}


def expand_operators(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node itself, or the operators of ONNX that do the same.

    A QLinear operator becomes DequantizeLinear -> operator -> QuantizeLinear, a fused one the
    operator, the sum and the activation that it is made of.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    channels_last = attributes.get("channels_last")
    if not node.output or node.domain not in (*STANDARD_DOMAINS, _MICROSOFT):
        yield node
    elif node.domain == _MICROSOFT and node.op_type in _SAME_AS_ONNX:
        plain = helper.make_node(node.op_type, node.input, node.output, node.name)
        plain.attribute.extend(node.attribute)
        yield plain
    elif node.domain == _MICROSOFT and node.op_type in _FUSED:
        yield from _unfused(node, attributes)
    elif node.op_type in _QLINEAR and not (channels_last is not None and channels_last.i):
        yield from _dequantised(node, attributes)
    else:
        yield node


def _unfused(
    node: onnx.NodeProto, attributes: dict[str, onnx.AttributeProto]
) -> Iterator[onnx.NodeProto]:
    """Conv or Gemm, then Add where a fourth input is summed, then the activation."""
    op_type = _FUSED[node.op_type]
    named = attributes.get("activation")
    activation = named.s.decode(errors="replace") if named is not None else ""
    summed = list(node.input[3:4]) if op_type == "Conv" else []
    result = node.output[0]
    parts = [op_type, *(["Add"] if summed else []), *([activation] if activation else [])]
    names = [f"{result}/{part}" for part in parts[:-1]] + [result]
    plain = helper.make_node(op_type, node.input[:3], names[:1], node.name or result)
    plain.attribute.extend(
        value for name, value in attributes.items() if not name.startswith("activation")
    )
    yield plain
    for part, source, name in zip(parts[1:], names, names[1:], strict=False):
        yield helper.make_node(part, [source, *(summed if part == "Add" else [])], [name])


def _dequantised(
    node: onnx.NodeProto, attributes: dict[str, onnx.AttributeProto]
) -> Iterator[onnx.NodeProto]:
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
