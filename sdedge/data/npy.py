"""Arrays in .npy files that are written row by row and mapped back without being read.

The header is never parsed: a file is accepted if it starts with the very header that the expected
shape and type give, and has the length that goes with it. Everything else counts as damaged.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["RowFile", "map_rows"]


class RowFile:
    """A file that learns its length at the end; a full disk is an OSError, not a crash."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._file = path.open("wb")
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self._rows = 0
        self._file.write(self._header())

    def append(self, rows: NDArray[Any]) -> None:
        """Write `rows` (n, *row_shape)."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def close(self) -> None:
        """Write the final length; the format pads its header so that any length fits."""
        with self._file:
            self._file.seek(0)
            self._file.write(self._header())

    def _header(self) -> bytes:
        return _header((self._rows, *self._row_shape), self._dtype)


def map_rows(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Map a file read-only; OSError where it is missing, ValueError where it is damaged."""
    kind = np.dtype(dtype)
    expected = _header(shape, kind)
    with path.open("rb") as file:
        header = file.read(len(expected))
    whole = path.stat().st_size == len(expected) + math.prod(shape) * kind.itemsize
    if header != expected or not whole:
        raise ValueError(f"{path} is not an array {shape} of {kind}")
    return np.memmap(path, kind, "r", len(expected), shape)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    buffer = io.BytesIO()
    fields = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
