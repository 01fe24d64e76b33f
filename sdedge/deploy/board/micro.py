"""Micro-benchmarks: small ONNX models from whose latencies a device's rates follow.

Most are chains of one operator, which separate what a node costs by itself from what its work
costs; the rest are small networks of random cells, exported as any other, where operators meet as
they do in real ones. Weights are constants, so that all of them fit a small zip; the same call
gives the same bytes.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from sdedge.deploy.formats.onnx.write import to_model
from sdedge.deploy.int8.quantize import quantize
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.ir.program import INPUT, Program
from sdedge.deploy.ir.trace import to_program
from sdedge.space.darts.cell import random_genotype
from sdedge.space.saved import NetworkDescription

REPEATS = 6  # of the operator in a chain
NETWORKS = 30
CLASSES = 10
NETWORK = "network"
_IMAGE_CHANNELS = 3
_WINDOW = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}


@dataclass(frozen=True, kw_only=True)
class Micro:
    """What a micro-benchmark is made of: maps of `channels`, `size` x `size` pixels."""

    kind: str
    channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    cells: int = 0  # of a network

    @property
    def name(self) -> str:
        """As in depthwise-c16-h32-k3-s1."""
        parts = [f"{self.kind}-c{self.channels}-h{self.size}"]
        if self.kind == NETWORK:
            return "-".join([*parts, f"n{self.cells}"])
        parts += [f"k{self.kernel}", f"s{self.stride}"]
        return "-".join([*parts, *([f"d{self.dilation}"] if self.dilation > 1 else [])])


@cache
def micro_models() -> dict[str, bytes]:
    """Every micro-benchmark in every precision, an ONNX file by its name."""
    models = {}
    for micro in micro_set():
        program = _network(micro) if micro.kind == NETWORK else _chain(micro)
        for precision in PRECISIONS:
            made = program if precision == "fp32" else int8_form(program)
            model = to_model(made, micro.size, CLASSES)
            models[file_name(micro, precision)] = model.SerializeToString(deterministic=True)
    return models


def file_name(micro: Micro, precision: Precision) -> str:
    """The file's name in a bundle."""
    return micro.name + ("-int8" if precision == "int8" else "") + ".onnx"


def micro_set() -> Iterator[Micro]:
    """What is measured: widths from 4 to 128 channels, sizes from 8 to 64 pixels."""

    def of(
        kind: str, *cases: tuple[int, int], kernel: int = 1, stride: int = 1, dilation: int = 1
    ) -> Iterator[Micro]:
        for channels, size in cases:
            yield Micro(
                kind=kind,
                channels=channels,
                size=size,
                kernel=kernel,
                stride=stride,
                dilation=dilation,
            )

    yield from of(
        "pointwise",
        *((4, 32), (6, 32), (8, 16), (8, 32), (10, 16), (12, 32), (16, 8), (16, 32), (18, 16)),
        *((24, 16), (32, 16), (32, 32), (48, 16), (64, 8), (64, 16), (128, 8)),
    )
    yield from of("grouped", (8, 16), (16, 32), (20, 16), (32, 16), (64, 8))
    for kernel, dilation in ((3, 1), (5, 1), (3, 2), (5, 2)):
        cases = ((8, 32), (16, 16), (32, 16), (64, 8))
        yield from of("depthwise", *cases, kernel=kernel, dilation=dilation)
    yield from of("depthwise", (6, 16), (10, 32), (12, 16), (16, 64), (24, 32), (128, 8), kernel=3)
    yield from of("dense", (6, 16), (8, 32), (16, 8), (16, 32), (32, 16), (64, 8), kernel=3)
    yield from of("stem", (12, 32), (24, 32), (48, 32), (48, 64), (96, 32), kernel=3)
    yield from of("down", (8, 64), (12, 32), (16, 32), (32, 32), kernel=3, stride=2)
    yield from of("down", (16, 32), (32, 16), kernel=5, stride=2, dilation=2)
    for kind in ("maxpool", "avgpool"):
        yield from of(kind, (8, 32), (12, 16), (16, 32), (32, 16), (64, 8), kernel=3)
    yield from of("elementwise", (8, 16), (16, 32), (32, 32), (64, 64))
    yield from of("concat", (8, 16), (12, 32), (16, 32), (32, 16))
    yield from of("linear", (16, 8), (64, 8), (256, 8))
    widths = (4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 30, 32, 38, 40, 46, 48)
    sizes = [*product(widths, (32, 48, 64), range(3, 10))]
    for channels, size, cells in random.Random(0).sample(sizes, NETWORKS):
        yield Micro(kind=NETWORK, channels=channels, size=size, cells=cells)


def _network(micro: Micro) -> Program:
    """A network of random cells; its weights are as many and as large, but all the same."""
    seed = f"{micro.channels} {micro.cells} {micro.size}"
    description = NetworkDescription(
        genotype=random_genotype(random.Random(seed)),
        channels=micro.channels,
        cells=micro.cells,
        stem="cifar",
        classes=tuple(map(str, range(CLASSES))),
        image_size=micro.size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        dataset="",
    )
    program = to_program(description.build().eval(), description)
    for name, values in program.constants.items():
        if values.dtype == np.float32:
            program.constants[name] = np.full(values.shape, 1 / values[0].size, np.float32)
    return program


def int8_form(program: Program) -> Program:
    """A program in int8, with ranges that are made up: for its speed, not for its results."""
    ranges = {node.output: (0.0 if node.op_type == "Relu" else -1.0, 1.0) for node in program.nodes}
    return quantize(program, {INPUT: (-1.0, 1.0), **ranges})


def _chain(micro: Micro) -> Program:
    """The image brought to so many channels, the chain, and a classifier."""
    program = Program()
    if micro.kind == "stem":
        _conv(program, INPUT, _IMAGE_CHANNELS, micro.channels, kernel=micro.kernel)
    else:
        _conv(program, INPUT, _IMAGE_CHANNELS, micro.channels)
        _CHAINS[micro.kind](program, micro)
    if micro.kind != "linear":
        _pooled(program)
    _linear(program, program.output, micro.channels, CLASSES)
    return program


def _add(program: Program, op_type: str, inputs: Iterable[str], **attributes: object) -> str:
    return program.node(op_type, [*inputs], f"{op_type}{len(program.nodes)}", **attributes)


def _conv(
    program: Program,
    x: str,
    c_in: int,
    c_out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    group: int = 1,
) -> str:
    """x: (N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
    name = f"conv{len(program.nodes)}"
    shape = (c_out, c_in // group, kernel, kernel)
    weight = np.full(shape, 1 / (c_in // group * kernel**2), np.float32)
    attributes = {
        "strides": (stride, stride),
        "pads": (dilation * (kernel // 2),) * 4,
        "dilations": (dilation, dilation),
        "group": group,
    }
    plain = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    needed = {key: value for key, value in attributes.items() if value != plain[key]}
    parameters = [
        program.constant(f"{name}.weight", weight),
        program.constant(f"{name}.bias", np.zeros(c_out, np.float32)),
    ]
    return _add(program, "Conv", [x, *parameters], **needed)


def _linear(program: Program, x: str, c_in: int, c_out: int) -> str:
    """x: (N, c_in) -> (N, c_out)."""
    name = f"linear{len(program.nodes)}"
    parameters = [
        program.constant(f"{name}.weight", np.full((c_out, c_in), 1 / c_in, np.float32)),
        program.constant(f"{name}.bias", np.zeros(c_out, np.float32)),
    ]
    return _add(program, "Gemm", [x, *parameters], transB=1)


def _pooled(program: Program) -> str:
    """(N, C, H, W) -> (N, C)."""
    return _add(program, "Flatten", [_add(program, "GlobalAveragePool", [program.output])])


def _convs(program: Program, m: Micro, group: int = 1) -> None:
    for _ in range(REPEATS):
        _conv(
            program, program.output, m.channels, m.channels,
            kernel=m.kernel, dilation=m.dilation, group=group,
        )  # fmt: skip


def _depthwise(program: Program, m: Micro) -> None:
    _convs(program, m, group=m.channels)


def _grouped(program: Program, m: Micro) -> None:
    _convs(program, m, group=2)


def _down(program: Program, m: Micro) -> None:
    """Separable convolutions that halve the resolution."""
    for _ in range(REPEATS // 2):
        x = _add(program, "Relu", [program.output])
        x = _conv(
            program, x, m.channels, m.channels,
            kernel=m.kernel, stride=m.stride, dilation=m.dilation, group=m.channels,
        )  # fmt: skip
        _conv(program, x, m.channels, m.channels)


def _max_pools(program: Program, m: Micro) -> None:
    """Between convolutions, which decide how a runtime lays out the maps."""
    for _ in range(REPEATS):
        x = _add(program, "MaxPool", [program.output], **_WINDOW)
        _conv(program, x, m.channels, m.channels)


def _average_pools(program: Program, m: Micro) -> None:
    """Each added to something, as in a cell: int8 keeps both in floating point then."""
    for _ in range(REPEATS):
        x = program.output
        x = _add(program, "Add", [_add(program, "AveragePool", [x], **_WINDOW), x])
        _conv(program, x, m.channels, m.channels)


def _elementwise(program: Program, m: Micro) -> None:
    first = program.output
    for _ in range(REPEATS):
        _add(program, "Relu", [_add(program, "Add", [program.output, first])])


def _concat(program: Program, m: Micro) -> None:
    for _ in range(REPEATS):
        x = _add(program, "Concat", [program.output] * 4, axis=1)
        _conv(program, x, 4 * m.channels, m.channels)


def _linears(program: Program, m: Micro) -> None:
    _pooled(program)
    for _ in range(REPEATS):
        _linear(program, program.output, m.channels, m.channels)
        _add(program, "Relu", [program.output])


_CHAINS: dict[str, Callable[[Program, Micro], None]] = {
    "pointwise": _convs,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "dense": _convs,
    "down": _down,
    "maxpool": _max_pools,
    "avgpool": _average_pools,
    "elementwise": _elementwise,
    "concat": _concat,
    "linear": _linears,
}
