"""Changes to the structure of JSON: values, keys and nesting, which changes of bytes seldom hit."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["changed_json"]

_DEEP = "nested as deeply as Python's recursion limit lets through"
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**9, -(10**9), 2**53, 2**64, 10**400, 0.5, -0.5, 1e-300),
    *(1e300, float("nan"), float("inf"), float("-inf"), "", "8", "a", "a" * 5000, "\x1b[31m"),
    *("\udce9", "\0", "../..", "~nobody", _DEEP, [], {}, [[]], [1], ["a"], [None] * 100, {"a": 1}),
)


def changed_json(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to three values replaced, dropped, repeated, renamed, wrapped or nested."""
    value = json.loads(data)
    for _ in range(rng.integers(1, 4)):
        value = _changed(value, rng)
    text = json.dumps(value)
    if rng.random() < 0.1 and text.startswith('{"'):  # a key twice, with another value
        key, _, _ = text[1:].partition(":")
        text = f"{text[:-1]}, {key}: {json.dumps(_VALUES[rng.integers(len(_VALUES))])}}}"
    return text.replace(f'"{_DEEP}"', "[" * 900 + "]" * 900).encode()


def _changed(root: Any, rng: np.random.Generator) -> Any:
    holder: list[Any] = [copy.deepcopy(root)]
    places = list(_places(holder))
    container, key = places[rng.integers(len(places))]
    turn = rng.integers(8)
    if turn == 0 and container is not holder:
        del container[key]
    elif turn == 1 and isinstance(container, list) and container is not holder:
        container.extend([container[key]] * int(rng.choice([1, 500])))
    elif turn == 1 and isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    elif turn == 2:
        container[key] = [container[key]]
    elif turn == 3:
        container[key] = {"value": container[key]}
    elif turn == 4:  # a value from elsewhere
        other, name = places[rng.integers(len(places))]
        container[key] = copy.deepcopy(other[name])
    else:
        container[key] = copy.deepcopy(_VALUES[rng.integers(len(_VALUES))])
    return holder[0]


def _places(root: Any) -> Iterator[tuple[Any, Any]]:
    left = [root]
    while left:
        container = left.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            yield container, key
            if isinstance(container[key], list | dict):
                left.append(container[key])
