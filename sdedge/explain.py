"""Which part of a JSON value does not fit a type: where, what it is, what it must be. No torch."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from sdedge.errors import SdedgeError
from sdedge.escape import printable, short
from sdedge.names import suggestion

__all__ = ["describe_type", "explain", "unknown_field"]

_NOUNS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}
_LISTS, _OBJECTS = (list, tuple), (dict, Mapping)
_OPTIONAL = object()  # in the place of an optional field that is absent
_Part = tuple[str, object, Any]  # where in the whole, the value there, its type


def explain(value: object, kind: Any, *, reason: str, where: str = "") -> str:
    """The first part of a JSON `value` that does not fit `kind`: "rates.error.low is missing".

    It is `reason` where every part fits and the whole does not: a rule of a dataclass is broken.
    """
    for name, member, of in _parts(value, kind):
        place = f"{where}{name}".removeprefix(".")
        if member is MISSING:
            return f"{place} is missing"
        if not _fits(member, of):
            return explain(member, of, reason=reason, where=place)
    if isinstance(value, Mapping) and is_dataclass(_container(kind, value)):
        return f"{where}: {reason}" if where else reason
    return f"{where or 'it'} is {short(value)}; it must be {describe_type(kind)}"


def unknown_field(value: object, kind: Any, *, where: str = "") -> str | None:
    """The first field of a JSON `value` that `kind` does not have, with the closest that it has."""
    known = _container(kind, value)
    if is_dataclass(known) and isinstance(value, Mapping):
        names = [field.name for field in fields(known)]
        for name in value:
            if name not in names:
                place = f"{where}.{printable(str(name))}".removeprefix(".")
                return f"{place} is an unknown field{suggestion(str(name), names)}"
    parts = ((f"{where}{name}", part, of) for name, part, of in _parts(value, kind))
    return next(filter(None, (unknown_field(part, of, where=at) for at, part, of in parts)), None)


def describe_type(kind: Any) -> str:
    """What a value must be: "a whole number between 1 and 100, or null"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ", or ".join(map(describe_type, parts))
    if origin is Annotated:
        return _describe_annotated(parts[0], parts[1])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple and ... not in parts:
        if len(set(parts)) == 1:
            return f"a list of {len(parts)}, each {describe_type(parts[0])}"
        return f"a list of {' and '.join(map(describe_type, parts))}"
    if origin in _LISTS:
        return "a list"
    return _NOUNS.get(kind, "an object")


def _describe_annotated(kind: Any, meta: msgspec.Meta) -> str:
    if meta.description is not None:
        return meta.description
    if get_origin(kind) is tuple:
        of = describe_type(get_args(kind)[0])
        return f"at most {meta.max_length:,} values, each {of}"
    return f"{describe_type(kind)}{_range(meta)}"


def _range(meta: msgspec.Meta) -> str:
    if meta.max_length is not None:
        return f" of {meta.min_length or 0:,} to {meta.max_length:,} characters"
    least, most = _number(meta.ge, meta.gt), _number(meta.le, meta.lt)
    if meta.ge is not None and meta.le is not None:
        return f" between {least} and {most}"
    low = f"above {least}" if meta.ge is None else f"at least {least}"
    high = f"below {most}" if meta.le is None else f"at most {most}"
    return f" {low} and {high}"


def _number(*of: float | None) -> str:
    (value,) = (each for each in of if each is not None)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _parts(value: object, kind: Any) -> list[_Part]:
    """The parts of a value that have types of their own: fields, keys and values, items."""
    kind = _container(kind, value)
    origin, of = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        hints = get_type_hints(kind, include_extras=True)
        given = {field.name: value.get(field.name, _default(field)) for field in fields(kind)}
        return [(f".{n}", part, hints[n]) for n, part in given.items() if part is not _OPTIONAL]
    if isinstance(value, Mapping) and origin in _OBJECTS:
        items = [(f".{printable(str(key))}", key, part) for key, part in value.items()]
        keys = [(name, key, of[0]) for name, key, _ in items]
        return keys + [(name, part, of[1]) for name, _, part in items]
    if isinstance(value, list | tuple) and origin in _LISTS and of[1:] in ((), (...,)):
        return [(f"[{position}]", item, of[0]) for position, item in enumerate(value)]
    return []


def _default(field: Field[Any]) -> object:
    required = field.default is MISSING and field.default_factory is MISSING
    return MISSING if required else _OPTIONAL


def _container(kind: Any, value: object) -> Any:
    """The type in `kind`, without its bounds, as which a list or an object is read."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[0]
    if get_origin(kind) not in (Union, UnionType):
        return kind
    origins = _LISTS if isinstance(value, list | tuple) else _OBJECTS
    parts = [_container(part, value) for part in get_args(kind)]
    return next((each for each in parts if get_origin(each) in origins or is_dataclass(each)), kind)


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        return False
    except SdedgeError:  # a rule is broken, of parts that fit
        return True
    return True
