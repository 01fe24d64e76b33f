"""What cannot be registered is refused in a line, whatever the registry."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sdedge.data.catalog import DATASETS, register_dataset
from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.registry import FORMATS, register_format
from sdedge.errors import ConfigError
from sdedge.nas.strategies import STRATEGIES, register_strategy
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.tasks import TASKS, register_task
from sdedge.operations import get_operation, operations_of, register_operation

Register = Callable[[Any], Any]
SKIP = get_operation("skip_connect")
LISTING = Format(name="listing", title="listing", suffixes=("txt",), write=lambda _: (b"",))
# Each registers something sound under a name.
NAMED: dict[str, Register] = {
    "data set": lambda name: register_dataset(name, DATASETS["shapes"]),
    "format": lambda name: register_format(replace(LISTING, name=name)),
    "strategy": lambda name: register_strategy(replace(DARTS, name=name)),
    "task": lambda name: register_task(name, TASKS["mim"]),
    "operation": lambda name: register_operation(replace(SKIP, name=name)),
}
# Each registers a value under a sound name, where it does not have one of its own.
VALUED: dict[str, Register] = {
    "data set": lambda value: register_dataset("toy", value),
    "format": register_format,
    "strategy": register_strategy,
    "task": lambda value: register_task("toy", value),
    "operation": register_operation,
}


def registered() -> list[list[str]]:
    return [list(table) for table in (DATASETS, FORMATS, STRATEGIES, TASKS, operations_of())]


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize(
    "name", ["", 3, None, "a" * 65, "a\x1b", "a\n", "a b", "a/b", "a\\b", "[red]", "a+b"]
)
def test_what_cannot_be_a_name_is_refused(kind: str, name: Any) -> None:
    before = registered()
    with pytest.raises(ConfigError, match=f"cannot name an? {kind}: ") as raised:
        NAMED[kind](name)
    assert str(raised.value).isprintable()
    assert registered() == before


@pytest.mark.parametrize("kind", NAMED)
def test_a_name_of_64_characters_is_taken(kind: str) -> None:
    name = "é" * 64
    with NAMED[kind](name):
        assert any(name in names for names in registered())
    assert not any(name in names for names in registered())


@pytest.mark.parametrize("kind", VALUED)
@pytest.mark.parametrize("value", [None, 3, "toy"])
def test_what_is_not_of_the_class_is_refused(kind: str, value: Any) -> None:
    before = registered()
    with pytest.raises(ConfigError, match="cannot be registered: it must be "):
        VALUED[kind](value)
    assert registered() == before


@pytest.mark.parametrize("space", ["imagenet", None, ["darts"]])
def test_an_operation_of_an_unknown_space_is_refused(space: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown space .*; choose from darts, nas-bench-201"):
        register_operation(replace(SKIP, name="toy"), space)
