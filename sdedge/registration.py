"""Extensions: entries that join a registry, for good or to the end of a `with` block. No torch."""

from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

from sdedge.errors import ConfigError
from sdedge.escape import quoted
from sdedge.names import find_name

__all__ = ["Registration", "register"]


class Registration:
    """An entry of a registry; leaving its `with` block, or `undo`, takes it out again."""

    def __init__(self, registry: MutableMapping[str, Any], name: str) -> None:
        self._registry = registry
        self._value = registry[name]
        self.name = name

    def undo(self) -> None:
        """Take the entry out of its registry, unless that was done, or another has the name."""
        if self._registry.get(self.name) is self._value:
            del self._registry[self.name]

    def __enter__(self) -> "Registration":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


def register(
    registry: MutableMapping[str, Any], name: str, value: object, *, kind: str
) -> Registration:
    """Add `value`, a `kind` of thing, to `registry` as `name`.

    Raises ConfigError for a name that is empty or taken, in whatever case and with whatever
    hyphens, or that has one of the characters by which options are parsed (`+ @ : , =`, spaces).
    """
    one = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not name or any(letter in "+@:,=" or letter.isspace() for letter in name):
        raise ConfigError(f"{quoted(name)} cannot name {one}: leave out spaces and any of +@:,=")
    if taken := find_name(name, registry):
        raise ConfigError(f"there is {one} {taken} already; choose another name")
    registry[name] = value
    return Registration(registry, name)
