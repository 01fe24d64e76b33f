"""A JSON object whose fields are checked as they are read, by messages that name them."""

import math
from collections.abc import Mapping
from typing import Any

from sdedge.errors import TargetError


class Fields:
    """The fields of a JSON object, each checked as it is read."""

    def __init__(self, data: Mapping[str, Any], source: str, path: str = "") -> None:
        self.data = data
        self._source = source
        self._path = path
        self._read: set[str] = set()

    def wrong(self, name: str, what: str) -> TargetError:
        """What to raise about a field: it names file, field, and `what`."""
        return TargetError(f"{self._source}: {self._path}{name} {what}")

    def number(self, name: str) -> float:
        """A finite number above 0."""
        value = self._value(name)
        if not _is_number(value) or not 0 < value < math.inf:
            raise self.wrong(name, f"is {value!r}; it must be a number above 0")
        return float(value)

    def whole(self, name: str) -> int:
        """A whole number above 0."""
        value = self._value(name)
        if type(value) is not int or value <= 0:
            raise self.wrong(name, f"is {value!r}; it must be a whole number above 0")
        return value

    def number_or_null(self, name: str) -> float | None:
        """A number above 0, or null for what is not known."""
        return None if self._value(name) is None else self.number(name)

    def whole_or_null(self, name: str) -> int | None:
        """A whole number above 0, or null for what there is not."""
        return None if self._value(name) is None else self.whole(name)

    def text(self, name: str) -> str:
        """Text that says something."""
        value = self._value(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, f"is {value!r}; it must be text")
        return value

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise self.wrong(name, f"is {value!r}; it must be true or false")
        return value

    def group(self, name: str) -> "Fields":
        """An object within this one."""
        value = self._value(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, f"is {value!r}; it must be an object")
        return Fields(value, self._source, f"{self._path}{name}.")

    def numbers(
        self, name: str, required: tuple[str, ...], optional: tuple[str, ...]
    ) -> dict[str, float]:
        """An object of numbers above 0; those that are not `required` may be missing."""
        group = self.group(name)
        names = (*required, *(key for key in optional if key in group.data))
        values = {key: group.number(key) for key in names}
        group.finish()
        return values

    def texts(self, name: str) -> dict[str, str]:
        """An object of texts."""
        group = self.group(name)
        return {key: group.text(key) for key in group.data}

    def finish(self) -> None:
        """TargetError for a field that nobody read."""
        for name in self.data:
            if name not in self._read:
                raise self.wrong(name, "is no field of a target profile")

    def _value(self, name: str) -> Any:
        self._read.add(name)
        if name not in self.data:
            raise self.wrong(name, "is missing")
        return self.data[name]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
