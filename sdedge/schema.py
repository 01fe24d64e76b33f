"""JSON, checked against a type where it is read, and for finite numbers where it is written.

A schema is a type: a dataclass, or builtins such as `dict[str, dict[str, Any]]`; bounds stand in
its annotations, as `Annotated[int, msgspec.Meta(ge=1)]`. Numbers are finite and never text, whole
ones have at most 64 bits, and what does not fit is an error that names the file and the field.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from sdedge.errors import RunError, SdedgeError
from sdedge.escape import printable, short
from sdedge.explain import explain, unknown_field

__all__ = ["decode_json", "encode_json", "not_finite", "read_bytes", "read_record", "to_record"]

T = TypeVar("T")
_BOM = b"\xef\xbb\xbf"
# Decoded, JSON may take 20 times its size; the largest file of sdedge has a tenth of this.
_MAX_BYTES = 16 * 2**20
_HUGE = 2**63


def read_record(path: Path, kind: type[T], *, error: type[SdedgeError] = RunError) -> T:
    """The JSON file at `path` as a `kind`.

    Raises `error` where the file is missing, unreadable, over 16 MiB, no JSON, or does not fit.
    """
    data = read_bytes(path, error=error)
    return decode_json(data, kind, source=printable(str(path)), error=error)


def read_bytes(path: Path, *, error: type[SdedgeError] = RunError) -> bytes:
    """A file of text from outside, less its byte-order mark.

    Raises `error` where it is missing, unreadable, or over 16 MiB.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)  # a pipe or a device does not tell its size
    except FileNotFoundError:
        raise error(f"{shown} does not exist") from None
    except (OSError, ValueError) as reason:  # ValueError: a NUL byte in the path
        raise error(f"{shown} cannot be read: {getattr(reason, 'strerror', reason)}") from reason
    if len(data) > _MAX_BYTES:
        raise error(f"{shown} is over {_MAX_BYTES // 2**20} MiB; it is no file of sdedge")
    return data.removeprefix(_BOM)


def decode_json(
    data: bytes, kind: type[T], *, source: str, error: type[SdedgeError] = RunError
) -> T:
    """JSON text, with or without a byte-order mark, as a `kind`; `error` where it does not fit."""
    try:
        value = json.loads(data.removeprefix(_BOM).decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise error(f"{source} is nested too deeply") from None
    except ValueError as reason:  # of which a JSONDecodeError and a UnicodeDecodeError are
        raise error(f"{source} is not valid JSON: {printable(str(reason))}") from None
    return to_record(value, kind, source=source, error=error)


def to_record(
    value: object,
    kind: type[T],
    *,
    source: str,
    error: type[SdedgeError] = RunError,
    closed: bool = False,
) -> T:
    """A value that was decoded before, such as a section of a file, as a `kind`.

    `closed` refuses fields that the type does not have. Raises `error` naming `source`, the field,
    its value, and what it must be, or the rule of the type's own that is broken.
    """
    try:
        too_large = next(((at, n) for at, n in _numbers(value) if not _usual(n)), None)
        problem = unknown_field(value, kind) if closed else None
        if too_large:
            where, number = too_large
            problem = f"{where or 'it'}: {short(number)} is too large a number"
        if not problem:
            return msgspec.convert(value, type=kind)
    # A UnicodeEncodeError is of text with half a surrogate pair, where a number belongs.
    except (msgspec.ValidationError, UnicodeEncodeError) as reason:
        problem = explain(value, kind, reason=printable(str(reason)))
    except SdedgeError as reason:  # of a type that checks itself when it is made
        problem = str(reason)
    except RecursionError:
        raise error(f"{source} is nested too deeply") from None
    raise error(f"{source}: {problem}")


def encode_json(
    value: object,
    *,
    source: str,
    indent: int | None = None,
    error: type[SdedgeError] = RunError,
) -> str:
    """`value` as JSON text; `error` where a number in it is not finite, which JSON cannot say."""
    for where, number in not_finite(value):
        raise error(f"{source}: {where or 'it'} is {number}, and only finite numbers are results")
    return json.dumps(value, indent=indent, allow_nan=False)


def not_finite(value: object) -> Iterator[tuple[str, float]]:
    """The infinities and NaNs in a JSON value, each with its place."""
    return ((where, n) for where, n in _numbers(value) if isinstance(n, float) and not _usual(n))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _numbers(value: object, where: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a JSON value at `where`, with its place."""
    if isinstance(value, int | float):
        yield where, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _numbers(item, f"{where}[{position}]")


def _usual(number: float) -> bool:
    """A whole number of hundreds of digits is an `int`, and fits no float or tensor."""
    return math.isfinite(number) if isinstance(number, float) else -_HUGE <= number < _HUGE
