"""A network in INT8: uint8 activations, int8 weights by output channel, int32 sums.

The graph is written for the INT8 kernels of ONNX Runtime, in operators of standard ONNX:

- A convolution is one QLinearConv, with the ReLU after it: where the range of a result starts at 0,
  rounding into it cuts off what is negative.
- MaxPool, Concat and a ReLU that stands alone (Clip at the zero point) work on the bytes as they
  are; their inputs and outputs share one scale, so nothing is converted.
- Add, GlobalAveragePool and Gemm stand between DequantizeLinear and QuantizeLinear, which ONNX
  Runtime replaces by one INT8 kernel.
- AveragePool stays in floating point: the INT8 kernel takes several times as long. So does the sum
  that reads it, and a MaxPool of that sum: the greatest is the same before rounding and after, but
  after it ONNX Runtime keeps the layout NCHW, in which its INT8 kernel takes several times as long.

Weights are symmetric. uint8 by int8 is the pair with instructions of its own on x86 (VNNI).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdedge.deploy.int8.ranges import LEVELS, Range
from sdedge.deploy.ir.program import INPUT, Node, Program
from sdedge.errors import ExportError

_SAME_SCALE = {"Concat", "MaxPool", "Flatten"}
_IN_FLOAT = {"Sub", "Div", "AveragePool"}


def quantize(program: Program, ranges: Mapping[str, Range], *, weight_limit: int = 127) -> Program:
    """The INT8 form of a float program, given the least and greatest value of its tensors.

    Weights are rounded to -weight_limit..weight_limit; 63 keeps the sums of two products within 16
    bits, which x86 CPUs without VNNI need. Raises ExportError for an operator without INT8 form.
    """
    return _Quantizer(program, ranges, weight_limit).run()


def quantized_tensors(program: Program) -> list[str]:
    """The tensors, besides the input, whose ranges `quantize` asks for."""
    fused = _only_rectified(program)
    made = [node.output for node in program.nodes if node.output not in fused]
    return [name for name in made if name != program.output]


@dataclass(frozen=True)
class _Scale:
    """value = scale * (byte - zero_point)"""

    scale: np.float32
    zero_point: np.uint8

    @classmethod
    def of(cls, least: float, greatest: float) -> "_Scale":
        least, greatest = min(least, 0.0), max(greatest, 0.0)
        scale = np.float32((greatest - least) / LEVELS) or np.float32(1)
        return cls(scale, np.uint8(np.clip(np.rint(-least / scale), 0, LEVELS)))


class _Quantizer:
    def __init__(self, program: Program, ranges: Mapping[str, Range], weight_limit: int) -> None:
        self._program = program
        self._weight_limit = weight_limit
        self._fused = _only_rectified(program)
        self._scales = _scales(program, self._fused, ranges)
        self._result = Program()
        self._int8: dict[str, str] = {}  # tensor of the program -> its quantised form
        self._float = {INPUT: INPUT}
        self._before_rounding: dict[str, str] = {}  # of sums that are made in floating point

    def run(self) -> Program:
        forms: dict[str, Callable[[Node], None]] = {
            **dict.fromkeys(_SAME_SCALE, self._bytes),
            **dict.fromkeys(_IN_FLOAT, self._keep_float),
            **dict.fromkeys(("Add", "GlobalAveragePool"), self._between),
            "Conv": self._conv,
            "Gemm": self._gemm,
            "MaxPool": self._max_pool,
            "Relu": self._relu,
        }
        for node in self._program.nodes:
            if node.op_type not in forms:
                raise ExportError(f"{node.op_type} at {node.output} has no INT8 form in sdedge")
            forms[node.op_type](node)
        return self._result

    def _conv(self, node: Node) -> None:
        x, weight, *bias = node.inputs
        y = self._fused.get(node.output, node.output)
        rounded, scale = self._weight(weight)
        inputs = [self._as_int8(x), *self._scale_of(x), *rounded, *self._scale_of(y)]
        inputs += self._bias(bias, x, scale)[:1]
        self._int8[y] = self._result.node("QLinearConv", inputs, y, **node.attributes)

    def _gemm(self, node: Node) -> None:
        x, weight, *bias = node.inputs
        rounded, scale = self._weight(weight)
        summed = self._bias(bias, x, scale)
        inputs = [self._as_float(x)]
        inputs += [
            self._result.node("DequantizeLinear", parts, f"{parts[0]}.float", axis=0)
            for parts in (rounded, summed)
            if parts
        ]
        self._float[node.output] = self._result.node("Gemm", inputs, node.output, **node.attributes)

    def _between(self, node: Node) -> None:
        y = self._fused.get(node.output, node.output)
        exact = self._rounded(node, [self._as_float(name) for name in node.inputs], y)
        if y == node.output and any(name in self._float for name in node.inputs):
            self._before_rounding[y] = exact

    def _max_pool(self, node: Node) -> None:
        exact = self._before_rounding.get(node.inputs[0])
        if exact is None:
            self._bytes(node)
        else:
            self._rounded(node, [exact], node.output)

    def _rounded(self, node: Node, inputs: list[str], y: str) -> str:
        """Compute in floating point and quantise into y; gives the name of the exact result."""
        exact = self._result.node(node.op_type, inputs, f"{y}.float", **node.attributes)
        self._int8[y] = self._result.node("QuantizeLinear", [exact, *self._scale_of(y)], y)
        return exact

    def _bytes(self, node: Node) -> None:
        inputs = [self._as_int8(name) for name in node.inputs]
        self._int8[node.output] = self._result.node(
            node.op_type, inputs, node.output, **node.attributes
        )

    def _keep_float(self, node: Node) -> None:
        inputs = [
            self._result.constant(name, self._program.constants[name])
            if name in self._program.constants
            else self._as_float(name)
            for name in node.inputs
        ]
        self._float[node.output] = self._result.node(
            node.op_type, inputs, node.output, **node.attributes
        )

    def _relu(self, node: Node) -> None:
        x, y = node.inputs[0], node.output
        if x in self._fused and self._scales[y].zero_point == 0:
            return
        _, zero_point = self._scale_of(y)
        inputs = [self._int8.pop(y) if x in self._fused else self._as_int8(x), zero_point]
        self._int8[y] = self._result.node("Clip", inputs, f"{y}.clipped")

    def _as_int8(self, name: str) -> str:
        if name not in self._int8:
            self._int8[name] = self._result.node(
                "QuantizeLinear", [self._float[name], *self._scale_of(name)], f"{name}.int8"
            )
        return self._int8[name]

    def _as_float(self, name: str) -> str:
        if name in self._float:
            return self._float[name]
        parts = [self._int8[name], *self._scale_of(name)]
        return self._result.node("DequantizeLinear", parts, f"{name}.dequantized")

    def _scale_of(self, name: str) -> list[str]:
        """Names of the scale and the zero point of an activation; equal ones are stored once."""
        scale = self._scales[name]
        return [
            self._result.constant(f"scale {scale.scale}", np.array(scale.scale)),
            self._result.constant(f"zero {scale.zero_point}", np.array(scale.zero_point)),
        ]

    def _weight(self, name: str) -> tuple[list[str], NDArray[np.float32]]:
        """Names of the rounded weight, its scales and its zero points; and the scales."""
        weight = self._program.constants[name]
        greatest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        scale = np.where(greatest > 0, greatest / self._weight_limit, 1).astype(np.float32)
        scale_name = f"{name}.scale"
        if np.ptp(scale) <= 1e-6 * scale[0]:  # `equalize` made them so
            scale, scale_name = scale[0], f"scale {scale[0]}"
        by_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))
        rounded = np.rint(weight / by_channel).astype(np.int8)
        zero = self._result.constant(f"zeros {scale.shape}", np.zeros(scale.shape, np.int8))
        parts = [
            self._result.constant(name, rounded),
            self._result.constant(scale_name, np.asarray(scale)),
            zero,
        ]
        return parts, scale

    def _bias(self, names: list[str], x: str, scale: NDArray[np.float32]) -> list[str]:
        """Names of the rounded bias and its scales; none where there is no bias."""
        if not names:
            return []
        of_sums = np.broadcast_to(
            self._scales[x].scale * scale, self._program.constants[names[0]].shape
        )
        exact = self._program.constants[names[0]].astype(np.float64) / of_sums
        limits = np.iinfo(np.int32)
        rounded = np.rint(exact).clip(limits.min, limits.max).astype(np.int32)
        return [
            self._result.constant(names[0], rounded),
            self._result.constant(f"{names[0]}.scale", of_sums),
        ]


def _only_rectified(program: Program) -> dict[str, str]:
    """Results of Conv and Add that nothing reads but one ReLU, and what that makes of them."""
    readers = program.readers()
    return {
        node.output: readers[node.output][0].output
        for node in program.nodes
        if node.op_type in ("Conv", "Add")
        and [reader.op_type for reader in readers[node.output]] == ["Relu"]
    }


def _scales(
    program: Program, fused: Mapping[str, str], ranges: Mapping[str, Range]
) -> dict[str, _Scale]:
    """The scale of each quantised tensor; tensors that pass their bytes on share one."""
    group = {name: {name} for name in (INPUT, *quantized_tensors(program))}
    for node in program.nodes:
        alone = node.op_type == "Relu" and node.inputs[0] not in fused
        if node.op_type in _SAME_SCALE or alone:
            joined = set().union(*(group[name] for name in (*node.inputs, node.output)))
            group.update(dict.fromkeys(joined, joined))
    scales = {}
    for name, members in group.items():
        least, greatest = zip(*(ranges[member] for member in members), strict=True)
        scales[name] = _Scale.of(min(least), max(greatest))
    return scales
