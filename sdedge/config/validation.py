"""A setting is checked against its type and range, and NAME=VALUE pairs are read."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec

from sdedge.errors import ConfigError
from sdedge.escape import printable, short
from sdedge.explain import describe_type
from sdedge.names import find_name

__all__ = ["check_setting", "parse_settings", "require", "shown_name"]


def check_setting(name: str, value: object, kind: Any) -> Any:
    """`value` as a `kind`: a list as the tuple that it stands for, a choice as it is spelled.

    Raises ConfigError naming the setting, its value and what it must be.
    """
    if get_origin(kind) is Literal and isinstance(value, str):
        value = find_name(value, get_args(kind)) or value
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        raise ConfigError(f"{name} is {short(value)}; it must be {describe_type(kind)}") from None


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
