"""From an ONNX file to the graph of a classifier that a runtime would run."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path

from onnx import TensorProto

from sdedge.deploy.formats.onnx.reader.classifier import Classifier, load_classifier
from sdedge.deploy.formats.onnx.reader.steps import Step, simplified_steps
from sdedge.deploy.formats.onnx.reader.tensor import ELEMENT_BITS, Tensor
from sdedge.deploy.ir.graph import (
    BYTES,
    QUANTIZERS,
    RESHAPES,
    Graph,
    Kind,
    Operator,
    Precision,
    Value,
    size_bytes,
)
from sdedge.errors import ExportError
from sdedge.escape import printable

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
_HALF_PRECISION = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
# Element types that rates are of, and those of masks and indices, which only move.
_PRICED = {
    TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL, TensorProto.INT32,
    TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64,
}  # fmt: skip
MAX_OPERATORS = 4_000


def read_graph(
    model: Path | bytes, image: Sequence[int] | None = None, *, origin: Path | None = None
) -> Graph:
    """Read an ONNX image classifier, float or quantised (Q/DQ pairs or QLinear operators).

    `image` gives the three dimensions after the batch, for a file that leaves them open; `origin`
    is the file that bytes were read from, if any. What has no cost model is in `unknown`. Raises
    ExportError naming the file and the way out when it is missing, cut short, not ONNX, not a
    classifier of one image, or has a tensor whose shape cannot be known.
    """
    classifier = load_classifier(model, image, origin=origin)
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
        input_bytes=0 if free else size_bytes(inputs, values),
        output_bytes=0 if free else size_bytes(outputs, values),
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
