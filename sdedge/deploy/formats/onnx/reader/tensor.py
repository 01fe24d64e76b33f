"""A tensor of an ONNX file: its shape, its element type, its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from onnx import TensorProto

_BITS = {
    "BOOL": 8,
    "DOUBLE": 64,
    "FLOAT": 32,
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "FLOAT4E2M1": 4,
    "FLOAT8E4M3FN": 8,
    "FLOAT8E4M3FNUZ": 8,
    "FLOAT8E5M2": 8,
    "FLOAT8E5M2FNUZ": 8,
    "INT4": 4,
    "INT8": 8,
    "INT16": 16,
    "INT32": 32,
    "INT64": 64,
    "UINT4": 4,
    "UINT8": 8,
    "UINT16": 16,
    "UINT32": 32,
    "UINT64": 64,
}
# Of an element, by its type; text and complex numbers have no place in a classifier.
ELEMENT_BITS: dict[int, int] = {
    number: _BITS[name] for name, number in TensorProto.DataType.items() if name in _BITS
}
MAX_ELEMENTS = 2**40


@dataclass(frozen=True)
class Tensor:
    """A tensor's shape and its element type, one of ELEMENT_BITS."""

    shape: tuple[int, ...]
    element: int

    @property
    def size_bytes(self) -> int:
        """Of its elements."""
        return (self.elements * ELEMENT_BITS[self.element] + 7) // 8

    @property
    def elements(self) -> int:
        """How many there are."""
        return prod(self.shape)

    @property
    def element_name(self) -> str:
        """The element type as ONNX's documents name it: float64 is "double" there."""
        return str(TensorProto.DataType.Name(self.element)).lower()


def tensor_of(weight: TensorProto) -> Tensor:
    """The shape and element type of a stored tensor, which `is_tensor` has accepted."""
    return Tensor(tuple(weight.dims), weight.data_type)


def is_tensor(shape: Sequence[int], element: int) -> bool:
    """Whether a Tensor can be made of these: sizes in bounds, and a numeric type."""
    if element not in ELEMENT_BITS or len(shape) > 64 or any(size < 0 for size in shape):
        return False
    return prod(shape) <= MAX_ELEMENTS


def shape_text(shape: Sequence[object]) -> str:
    """As in (1, 3, 32, 32)."""
    return f"({', '.join(map(str, shape))})"
