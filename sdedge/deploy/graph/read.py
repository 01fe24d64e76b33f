"""A classifier's graph as a runtime runs it: operators with their work, tensors with their size.

Activations are fused into the convolution before them and batch norm is folded into it, as ONNX
Runtime, TFLite Micro and ncnn all do; DequantizeLinear -> operator -> QuantizeLinear is one int8
operator; Identity and Dropout are gone. An Add after a convolution stays an operator of its own:
ONNX Runtime alone fuses it, in fp32 on x86 in its blocked layout.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

from onnx import TensorProto

from sdedge.deploy.graph.onnx_file import Classifier, Tensor, load_classifier, no_shape
from sdedge.deploy.graph.steps import MATRIX, QUANTIZERS, Step, simplified_steps

Kind = Literal["dense", "pointwise", "depthwise", "linear", "pooling", "elementwise", "movement"]
Precision = Literal["fp32", "int8"]
BYTES: dict[Precision, int] = {"fp32": 4, "int8": 1}

# What a convolution is depends on its weight, see `_kind`.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Gemm", "MatMul"), "linear"),
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"),
        "pooling",
    ),
    **dict.fromkeys(
        ("Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Elu", "Gelu",
         "Erf", "HardSigmoid", "HardSwish", "LayerNormalization", "LeakyRelu", "LogSoftmax", "Max",
         "Min", "Mul", "Pow", "PRelu", "QuantizeLinear", "Relu", "Sigmoid", "Softmax", "Sqrt",
         "Sub", "Sum", "Tanh"),
        "elementwise",
    ),
    **dict.fromkeys(
        ("Concat", "Flatten", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
         "Unsqueeze"),
        "movement",
    ),
}  # fmt: skip
# The bytes stay where they are, only the shape changes.
RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True, kw_only=True)
class Value:
    """An activation: a tensor that exists while the network runs, for one image.

    It is named after the operator that makes it, where that has a name and makes no other.
    """

    name: str
    shape: tuple[int, ...]
    precision: Precision

    @property
    def size_bytes(self) -> int:
        """Of its elements."""
        return prod(self.shape) * BYTES[self.precision]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One launch of the runtime. `inputs` and `outputs` are activations; bytes are of one image.

    `input_bytes` and `output_bytes` are what it reads and writes; 0 where it only reshapes.
    `weight_bytes` includes `bias_bytes`, but no scales or zero points. `repeated_bytes` of it,
    biases apart, are weights that an operator before this one reads as well.
    """

    name: str
    op_type: str  # of ONNX; "Conv+Relu" where an activation is fused
    kind: Kind
    precision: Precision
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    bias_bytes: int = 0
    repeated_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A classifier for one image, operators in an order they can run in."""

    operators: tuple[Operator, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    weight_bytes: int  # each weight once, however many operators read it
    file_size_bytes: int
    unknown: Mapping[str, int]  # operator types without a cost model, counted
    classes: int | None

    @property
    def precision(self) -> Precision:
        """That of most multiply-accumulates."""
        int8 = sum(operator.macs for operator in self.operators if operator.precision == "int8")
        return "int8" if 2 * int8 > self.macs else "fp32"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return sum(operator.macs for operator in self.operators)

    def as_int8(self) -> "Graph":
        """The same network quantised throughout, image and scores included.

        One byte an activation and a weight, int32 biases, and no operator that converts: what a
        microcontroller's converter makes of it. `file_size_bytes` stays that of the file read.
        """
        source: dict[str, str] = {}
        for operator in self.operators:
            if operator.op_type in QUANTIZERS:
                source[operator.outputs[0]] = source.get(operator.inputs[0], operator.inputs[0])
        outputs = tuple(source.get(name, name) for name in self.outputs)
        values = {
            name: replace(value, precision="int8")
            for name, value in self.values.items()
            if name not in source
        }
        operators = tuple(
            _as_int8(operator, values, source)
            for operator in self.operators
            if operator.op_type not in QUANTIZERS
        )
        return replace(
            self,
            operators=operators,
            values=values,
            outputs=outputs,
            weight_bytes=self.weight_bytes
            - sum(_saved(o, _matrix_bytes(o) - o.repeated_bytes) for o in self.operators),
        )


def _as_int8(
    operator: Operator, values: Mapping[str, Value], source: Mapping[str, str]
) -> Operator:
    inputs = tuple(source.get(name, name) for name in operator.inputs)
    outputs = tuple(source.get(name, name) for name in operator.outputs)
    free = operator.op_type in RESHAPES
    return replace(
        operator,
        precision="int8",
        inputs=inputs,
        outputs=outputs,
        weight_bytes=operator.weight_bytes - _saved(operator, _matrix_bytes(operator)),
        repeated_bytes=operator.repeated_bytes - _saved(operator, operator.repeated_bytes),
        input_bytes=0 if free else _size(inputs, values),
        output_bytes=0 if free else _size(outputs, values),
    )


def _matrix_bytes(operator: Operator) -> int:
    """Of its weights but the bias, which keeps its four bytes in int8."""
    return operator.weight_bytes - operator.bias_bytes


def _saved(operator: Operator, size: int) -> int:
    """What so many bytes of its weights lose when they become int8."""
    return size - size // BYTES["fp32"] if operator.precision == "fp32" else 0


def _size(names: Iterable[str], values: Mapping[str, Value]) -> int:
    return sum(values[name].size_bytes for name in names)


def read_graph(model: Path | bytes) -> Graph:
    """Read an ONNX image classifier, float or quantised (Q/DQ pairs or QLinear operators).

    Operators without a cost model are in `unknown`; those of other domains than ONNX's are taken
    to keep the shape of their input. Raises ExportError naming the file and the way out when it is
    missing, cut short, not ONNX, or not a classifier of one image.
    """
    classifier = load_classifier(model)
    steps = simplified_steps(classifier)
    names = _names(classifier, steps)
    values = {names[name]: _value(names[name], name, classifier) for name in names}
    weights: dict[str, Tensor] = {}
    operators = []
    for step in steps:
        operators.append(_operator(step, names, values, weights))
        weights.update(step.weights)
    return Graph(
        operators=tuple(operators),
        values=values,
        inputs=(classifier.input,),
        outputs=(classifier.output,),
        parameters=sum(tensor.elements for tensor in weights.values()),
        weight_bytes=sum(tensor.size_bytes for tensor in weights.values()),
        file_size_bytes=classifier.file_size_bytes,
        unknown=Counter(step.op_type for step in steps if _kind(step) is None),
        classes=classifier.tensors[classifier.output].shape[1],
    )


def _names(classifier: Classifier, steps: Sequence[Step]) -> dict[str, str]:
    """What each activation of the file is called here; files often number their tensors."""
    own = {classifier.input, *(name for step in steps for name in step.outputs)}
    used = Counter(step.name for step in steps)
    names = {classifier.input: classifier.input}
    for step in steps:
        for name in step.outputs:
            free = len(step.outputs) == used[step.name] == 1 and step.name not in own
            names[name] = step.name if free and name != classifier.output else name
    return names


def _value(name: str, tensor_name: str, classifier: Classifier) -> Value:
    if tensor_name not in classifier.tensors:
        raise no_shape(tensor_name, classifier.source)
    tensor = classifier.tensors[tensor_name]
    int8 = tensor.element in (TensorProto.INT8, TensorProto.UINT8)
    return Value(name=name, shape=tensor.shape, precision="int8" if int8 else "fp32")


def _operator(
    step: Step, names: Mapping[str, str], values: Mapping[str, Value], seen: Container[str]
) -> Operator:
    """`seen`: the weights of the operators before."""
    inputs = tuple(names[name] for name in step.inputs)
    outputs = tuple(names[name] for name in step.outputs)
    free = step.op_type in RESHAPES
    conversion = step.op_type in QUANTIZERS
    int8 = not conversion and any(values[name].precision == "int8" for name in inputs)
    return Operator(
        name=step.name,
        op_type=step.op_type,
        kind=_kind(step) or "elementwise",
        precision="int8" if int8 else "fp32",
        inputs=inputs,
        outputs=outputs,
        macs=_macs(step, [values[name] for name in inputs], [values[name] for name in outputs]),
        weight_bytes=sum(tensor.size_bytes for tensor in step.weights.values()),
        input_bytes=0 if free else _size(inputs, values),
        output_bytes=0 if free else _size(outputs, values),
        bias_bytes=step.bias.size_bytes if step.bias else 0,
        repeated_bytes=sum(
            tensor.size_bytes
            for name, tensor in step.weights.items()
            if name in seen and tensor is not step.bias
        ),
    )


def _kind(step: Step) -> Kind | None:
    """None when it has no cost model."""
    if step.base != "Conv" or step.matrix is None:
        return _KINDS.get(step.base)
    if step.groups > 1 and step.matrix.shape[1] == 1:
        return "depthwise"
    return "pointwise" if step.groups == 1 and set(step.matrix.shape[2:]) == {1} else "dense"


def _macs(step: Step, inputs: Sequence[Value], outputs: Sequence[Value]) -> int:
    """Multiply-accumulates of one image."""
    if step.base not in MATRIX:
        return 0
    elements = prod(outputs[0].shape)
    if step.base == "Conv" and step.matrix is not None:
        return elements * prod(step.matrix.shape[1:])
    # Each element of a matrix product is a sum over the left operand's last dimension.
    return elements * inputs[0].shape[-1]
