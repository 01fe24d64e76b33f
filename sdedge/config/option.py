"""Declares that a setting has an option of its own on the command line, with its help."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

__all__ = ["Option", "option", "options_of"]

T = TypeVar("T")
_KEY = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """What the command line says of a setting."""

    help: str
    metavar: str | None = None  # stands for the value; None: its type
    flag: str | None = None  # such as "--int8/--fp32"; None: the name of the setting


def option(default: T, help: str, *, metavar: str | None = None, flag: str | None = None) -> T:
    """A field with this default, and an option of its own.

    A subclass that gives another default keeps the option.
    """
    shown = Option(help=help, metavar=metavar, flag=flag)
    value: T = field(default=default, metadata={_KEY: shown})
    return value


def options_of(config: type[Any]) -> dict[str, Option]:
    """The options of a config, by setting, in the order of the fields."""
    declared = {
        each.name: each.metadata[_KEY]
        for base in reversed(config.__mro__)
        if is_dataclass(base)
        for each in fields(base)
        if _KEY in each.metadata
    }
    return {each.name: declared[each.name] for each in fields(config) if each.name in declared}
