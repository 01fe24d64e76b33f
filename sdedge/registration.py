"""Extensions: entries that join a registry, for good or to the end of a `with` block. No torch."""

from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

from sdedge.errors import ConfigError
from sdedge.escape import quoted, short
from sdedge.names import find_name

__all__ = ["Registration", "check_class", "register"]

_LONGEST = 64  # characters of a name
# By which options are parsed, paths are made and consoles are coloured.
_RESERVED = "+@:,=/\\[]"


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


def check_class(value: object, kind: type[object]) -> None:
    """Raise ConfigError for a value that cannot be registered, as it is no `kind`."""
    if not isinstance(value, kind):
        raise ConfigError(
            f"{short(value)} cannot be registered: it must be of the class {kind.__name__}"
        )


def register(
    registry: MutableMapping[str, Any], name: str, value: object, *, kind: str
) -> Registration:
    """Add `value`, a `kind` of thing, to `registry` as `name`.

    Raises ConfigError for a name that is empty, over 64 characters or taken, in whatever case and
    with whatever hyphens, or that has a space, a control character or one of `+ @ : , = / \\ [ ]`.
    """
    one = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
        raise ConfigError(
            f"{short(name)} cannot name {one}: give text of 1 to {_LONGEST} characters"
        )
    if not name.isprintable() or any(letter in _RESERVED or letter.isspace() for letter in name):
        raise ConfigError(
            f"{quoted(name)} cannot name {one}: leave out spaces, control characters and any of "
            f"{_RESERVED}"
        )
    if taken := find_name(name, registry):
        raise ConfigError(f"there is {one} {taken} already; choose another name")
    registry[name] = value
    return Registration(registry, name)
