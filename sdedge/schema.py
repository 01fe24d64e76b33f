"""JSON, checked against a type where it is read, and for finite numbers where it is written.

A schema is a type: a dataclass, or builtins such as `dict[str, dict[str, Any]]`; bounds stand in
its annotations, as `Annotated[int, msgspec.Meta(ge=1)]`. Numbers are finite and never text, and
what does not fit is an error that names the file and the field.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from sdedge.errors import RunError, SdedgeError
from sdedge.escape import printable

__all__ = ["decode_json", "encode_json", "not_finite", "read_record", "to_record"]

T = TypeVar("T")
_BOM = b"\xef\xbb\xbf"
_MAX_BYTES = 256 * 2**20


def read_record(path: Path, kind: type[T], *, error: type[SdedgeError] = RunError) -> T:
    """The JSON file at `path` as a `kind`.

    Raises `error` where the file is missing, unreadable, over 256 MiB, no JSON, or does not fit.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                raise error(f"{shown} is over {_MAX_BYTES // 2**20} MiB; it is no file of sdedge")
            data = file.read()
    except FileNotFoundError:
        raise error(f"{shown} does not exist") from None
    except (OSError, ValueError) as reason:  # ValueError: a NUL byte in the path
        raise error(f"{shown} cannot be read: {getattr(reason, 'strerror', reason)}") from reason
    return decode_json(data, kind, source=shown, error=error)


def decode_json(
    data: bytes, kind: type[T], *, source: str, error: type[SdedgeError] = RunError
) -> T:
    """JSON text, with or without a byte-order mark, as a `kind`; `error` where it does not fit."""
    text = data.removeprefix(_BOM)
    return _checked(lambda: msgspec.json.decode(text, type=kind), source, error)


def to_record(
    value: object, kind: type[T], *, source: str, error: type[SdedgeError] = RunError
) -> T:
    """A value that was decoded before, such as a section of a file, as a `kind`."""
    return _checked(lambda: msgspec.convert(value, type=kind), source, error)


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


def not_finite(value: object, where: str = "") -> Iterator[tuple[str, float]]:
    """The infinities and NaNs in a JSON value at `where`, each with its place."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from not_finite(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from not_finite(item, f"{where}[{position}]")


def _checked(decode: Callable[[], T], source: str, error: type[SdedgeError]) -> T:
    try:
        return decode()
    except msgspec.ValidationError as reason:
        raise error(f"{source}: {_where(reason)}") from None
    except msgspec.DecodeError as reason:
        raise error(f"{source} is not valid JSON: {reason}") from None
    except RecursionError:
        raise error(f"{source} is nested too deeply") from None


def _where(reason: msgspec.ValidationError) -> str:
    """ "Expected `int`, got `str` - at `$.cells`" as "cells: expected int, got str"."""
    what, _, where = printable(str(reason)).partition(" - at ")
    what = (what[:1].lower() + what[1:]).replace("`", "")
    field = where.strip("`").removeprefix("$").lstrip(".")
    return f"{field}: {what}" if field else what
