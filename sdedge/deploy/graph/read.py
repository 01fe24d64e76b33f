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

from sdedge.deploy.graph.onnx_file import Classifier, load_classifier
from sdedge.deploy.graph.steps import QUANTIZERS, Step, simplified_steps
from sdedge.deploy.graph.tensor import ELEMENT_BITS, Tensor
from sdedge.errors import ExportError
from sdedge.escape import printable

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
        ("Concat", "Flatten", "Gather", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
         "Unsqueeze"),
        "movement",
    ),
}  # fmt: skip
# The bytes stay where they are, only the shape changes.
RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_HALF_PRECISION = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
# Element types that rates are of, and those of masks and indices, which only move.
_PRICED = {
    TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL, TensorProto.INT32,
    TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64,
}  # fmt: skip
MAX_OPERATORS = 4_000


@dataclass(frozen=True, kw_only=True)
class Value:
    """An activation: a tensor that exists while the network runs, for one image.

    It is named after the operator that makes it, where that has a name and makes no other.
    """

    name: str
    shape: tuple[int, ...]
    precision: Precision
    element_bits: int | None = None  # None: as its precision has

    @property
    def size_bytes(self) -> int:
        """Of its elements."""
        bits = 8 * BYTES[self.precision] if self.element_bits is None else self.element_bits
        return (prod(self.shape) * bits + 7) // 8


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One launch of the runtime. `inputs` and `outputs` are activations; bytes are of one image.

    `input_bytes` and `output_bytes` are what it reads and writes; 0 where it only reshapes.
    `weight_bytes` includes `bias_bytes`, but no scales or zero points. `repeated_bytes` of it,
    biases apart, are weights that an operator before this one reads as well. `saved_bytes` and
    `saved_repeated_bytes` are what both lose when the operator becomes an int8 one.
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
    saved_bytes: int = 0
    saved_repeated_bytes: int = 0
    unpriced: str | None = None  # what there is no cost model for: its type, or it in its elements


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
    classes: int | None

    @property
    def unknown(self) -> Mapping[str, int]:
        """What there is no cost model for, counted: types of operators, or these in an element."""
        return Counter(o.unpriced for o in self.operators if o.unpriced is not None)

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
            name: replace(value, precision="int8", element_bits=None)
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
            - sum(o.saved_bytes - o.saved_repeated_bytes for o in self.operators),
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
        weight_bytes=operator.weight_bytes - operator.saved_bytes,
        repeated_bytes=operator.repeated_bytes - operator.saved_repeated_bytes,
        saved_bytes=0,
        saved_repeated_bytes=0,
        unpriced=operator.unpriced if operator.unpriced == operator.op_type else None,
        input_bytes=0 if free else _size(inputs, values),
        output_bytes=0 if free else _size(outputs, values),
    )


def _size(names: Iterable[str], values: Mapping[str, Value]) -> int:
    return sum(values[name].size_bytes for name in names)


def read_graph(model: Path | bytes, image: Sequence[int] | None = None) -> Graph:
    """Read an ONNX image classifier, float or quantised (Q/DQ pairs or QLinear operators).

    `image` gives the three dimensions after the batch, for a file that leaves them open. What has
    no cost model is in `unknown`. Raises ExportError naming the file and the way out when it is
    missing, cut short, not ONNX, not a classifier of one image, or has a tensor whose shape cannot
    be known.
    """
    classifier = load_classifier(model, image)
    steps = simplified_steps(classifier)
    if len(steps) > MAX_OPERATORS:
        raise ExportError(
            f"{classifier.source} has {len(steps):,} operators; sdedge plans up to "
            f"{MAX_OPERATORS:,}"
        )
    names = _names(classifier, steps)
    values = {names[name]: _value(names[name], name, classifier) for name in names}
    weights: dict[str, Tensor] = {}
    operators = []
    for step in steps:
        operators.append(_operator(step, names, values, weights, classifier))
        weights.update(step.weights)
    return Graph(
        operators=tuple(operators),
        values=values,
        inputs=(classifier.input,),
        outputs=(classifier.output,),
        parameters=sum(tensor.elements for tensor in weights.values()),
        weight_bytes=sum(tensor.size_bytes for tensor in weights.values()),
        file_size_bytes=classifier.file_size_bytes,
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
    tensor = classifier.tensors[tensor_name]
    if tensor.element in _HALF_PRECISION:
        raise ExportError(
            f"{classifier.source} computes in {tensor.element_name}; export it in float32, or "
            "quantise it to int8"
        )
    if not tensor.elements:
        raise ExportError(
            f"{classifier.source}: its tensor {printable(tensor_name)} is empty for an image of "
            f"this size, {tensor.shape}; export it for larger images"
        )
    precision: Precision = (
        "int8" if tensor.element in (TensorProto.INT8, TensorProto.UINT8) else "fp32"
    )
    bits = ELEMENT_BITS[tensor.element]
    return Value(
        name=name,
        shape=tensor.shape,
        precision=precision,
        element_bits=None if bits == 8 * BYTES[precision] else bits,
    )


def _operator(
    step: Step,
    names: Mapping[str, str],
    values: Mapping[str, Value],
    seen: Container[str],
    classifier: Classifier,
) -> Operator:
    """`seen`: the weights of the operators before."""
    inputs = tuple(names[name] for name in step.inputs)
    outputs = tuple(names[name] for name in step.outputs)
    free = step.op_type in RESHAPES
    conversion = step.op_type in QUANTIZERS
    int8 = not conversion and any(values[name].precision == "int8" for name in inputs)
    kind = _kind(step)
    bias = step.weights.get(step.bias) if step.bias else None
    repeated = [
        tensor for name, tensor in step.weights.items() if name in seen and name != step.bias
    ]
    matrices = [tensor for name, tensor in step.weights.items() if name != step.bias]
    return Operator(
        name=step.name,
        op_type=step.op_type,
        kind=kind or "elementwise",
        precision="int8" if int8 else "fp32",
        inputs=inputs,
        outputs=outputs,
        macs=step.products * prod(values[outputs[0]].shape),
        weight_bytes=_bytes(step.weights.values()),
        input_bytes=0 if free else _size(inputs, values),
        output_bytes=0 if free else _size(outputs, values),
        bias_bytes=bias.size_bytes if bias else 0,
        repeated_bytes=_bytes(repeated),
        saved_bytes=0 if int8 else _saved(matrices, bias),
        saved_repeated_bytes=0 if int8 else _saved(repeated, None),
        unpriced=step.op_type if kind is None else _odd_elements(step, classifier),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _saved(matrices: Sequence[Tensor], bias: Tensor | None) -> int:
    """Bytes that weights lose in int8: a byte an element, four an element of the bias."""
    smaller = sum(max(0, tensor.size_bytes - tensor.elements) for tensor in matrices)
    return smaller + (max(0, bias.size_bytes - 4 * bias.elements) if bias else 0)


def _odd_elements(step: Step, classifier: Classifier) -> str | None:
    """The operator in the element type that no rate is of, as in "Conv in double"."""
    if step.op_type in RESHAPES or step.op_type in QUANTIZERS:
        return None
    tensors = [classifier.tensors[name] for name in (*step.inputs, *step.outputs)]
    odd = next((tensor for tensor in tensors if tensor.element not in _PRICED), None)
    return None if odd is None else f"{step.op_type} in {odd.element_name}"


def _kind(step: Step) -> Kind | None:
    """None when it has no cost model."""
    if step.base != "Conv" or step.matrix is None:
        return _KINDS.get(step.base)
    if step.groups > 1 and step.matrix.shape[1] == 1:
        return "depthwise"
    return "pointwise" if step.groups == 1 and set(step.matrix.shape[2:]) == {1} else "dense"
