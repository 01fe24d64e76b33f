"""A setting is checked against its type and range, and NAME=VALUE pairs are read."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from sdedge.errors import ConfigError
from sdedge.escape import printable, short
from sdedge.names import find_name

__all__ = ["check_setting", "parse_settings", "require", "shown_name"]

_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check_setting(name: str, value: object, kind: Any) -> Any:
    """`value` as a `kind`: a list as the tuple that it stands for, a choice as it is spelled.

    Raises ConfigError naming the setting, its value and what it must be.
    """
    if get_origin(kind) is Literal and isinstance(value, str):
        value = find_name(value, get_args(kind)) or value
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        raise ConfigError(f"{name} is {short(value)}; it must be {_describe(kind)}") from None


def _describe(kind: Any) -> str:
    """What a value must be, for people: "a whole number between 1 and 100, or null"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ", or ".join("null" if part is type(None) else _describe(part) for part in parts)
    if origin is Annotated and get_origin(parts[0]) is tuple:
        of = _describe(get_args(parts[0])[0])
        return f"at most {parts[1].max_length:,} values, each {of}"
    if origin is Annotated:
        return f"{_describe(parts[0])}{_range(parts[1])}"
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin is tuple:
        return f"{len(parts)} numbers, such as [0.5, 0.999], each {_describe(parts[0])}"
    return _NOUNS[kind]


def _range(meta: Meta) -> str:
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


def require(holds: bool, field: str, value: object, rule: str) -> None:
    """Raise ConfigError, saying what `value` must be, where a rule does not hold."""
    if not holds:
        raise ConfigError(f"{field} is {short(value)}; it must be {rule}")


def shown_name(name: str) -> str:
    """The name of a setting from outside, for a message."""
    return printable(name[:50])


def parse_settings(
    pairs: Iterable[str], values: Mapping[str, Any] = MappingProxyType({}), *, how: str
) -> dict[str, Any]:
    """`values`, and those of NAME=VALUE pairs, whose values are JSON or else text.

    Raises ConfigError, saying `how` they were given, for a pair without '=' or a name given twice.
    """
    parsed = dict(values)
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"{how} {short(pair)} is not of the form NAME=VALUE")
        if name in parsed:
            first, second = short(parsed[name]), shown_name(pair)
            raise ConfigError(f"{shown_name(name)} is given twice: {first}, and {how} {second}")
        try:
            parsed[name] = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            parsed[name] = text
    return parsed
