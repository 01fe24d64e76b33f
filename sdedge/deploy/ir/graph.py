"""A classifier's graph as a runtime runs it: operators with their work, tensors with their size.

Activations are fused into the convolution before them and batch norm is folded into it, as ONNX
Runtime, TFLite Micro and ncnn all do; DequantizeLinear -> operator -> QuantizeLinear is one int8
operator; Identity and Dropout are gone. An Add after a convolution stays an operator of its own:
ONNX Runtime alone fuses it, in fp32 on x86 in its blocked layout.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, get_args

Kind = Literal["dense", "pointwise", "depthwise", "linear", "pooling", "elementwise", "movement"]
Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BYTES: dict[Precision, int] = {"fp32": 4, "int8": 1}

# The bytes stay where they are, only the shape changes.
RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
# They convert between floats and integers with a scale.
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


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
        input_bytes=0 if free else size_bytes(inputs, values),
        output_bytes=0 if free else size_bytes(outputs, values),
    )


def size_bytes(names: Iterable[str], values: Mapping[str, Value]) -> int:
    """Of the activations of these names."""
    return sum(values[name].size_bytes for name in names)
