"""JSON is checked where it is read: type, bounds, encoding, size and depth."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from sdedge.errors import DataError, RunError
from sdedge.schema import decode_json, encode_json, read_record, to_record


@dataclass(frozen=True)
class _Network:
    cells: Annotated[int, msgspec.Meta(ge=1, le=100)]
    rate: float
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b'{"cells": "8", "rate": 1}',
            "cells is '8'; it must be a whole number between 1 and 100",
        ),
        (
            b'{"cells": 8.9, "rate": 1}',
            "cells is 8.9; it must be a whole number",
        ),
        (b'{"cells": true, "rate": 1}', "f.json: cells is True; it must be a whole number"),
        (
            b'{"cells": 1000000000, "rate": 1}',
            "cells is 1000000000; it must be a whole",
        ),
        (
            b'{"cells": 1' + b"0" * 5000 + b', "rate": 1}',
            "f.json is not valid JSON: Exceeds the limit",
        ),
        (b'{"cells": 8, "rate": NaN}', "f.json is not valid JSON"),
        (b'{"cells": 8, "rate": 1e999}', "f.json: rate: inf is too large a number"),
        (b'{"cells": 8}', "f.json: rate is missing"),
        (b"[1]", "f.json: it is [1]; it must be an object"),
        (b'{"cells": 8, "rate": 1, "names": ["a", 3]}', "names[1] is 3; it must be text"),
        (b'{"cells": 8, "rate": 1, "names": ["\xff"]}', "f.json is not valid JSON"),
        (b'{"cells": 8, "rate": 1, "x": [1' + b"0" * 99 + b"]}", "0000 is too large a number"),
        (b'{"cells": 8,', "f.json is not valid JSON"),
        (b"", "f.json is not valid JSON"),
    ],
)
def test_what_does_not_fit_is_named(text: bytes, message: str) -> None:
    with pytest.raises(RunError, match=re.escape(message)):
        decode_json(text, _Network, source="f.json")


@dataclass(frozen=True)
class _Device:
    speeds: dict[Literal["fp32", "int8"], Annotated[float, msgspec.Meta(gt=0, le=9)]]
    network: _Network | None = None
    sizes: Annotated[tuple[int, ...], msgspec.Meta(max_length=2)] = ()
    title: Annotated[str, msgspec.Meta(pattern=r"\S", description="text that is not blank")] = "x"

    def __post_init__(self) -> None:
        if not self.speeds:
            raise ValueError("a device runs something")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"speeds": {"fp32": 0}}, "speeds.fp32 is 0; it must be a number above 0 and at most 9"),
        ({"speeds": {"fp16": 1}}, "speeds.fp16 is 'fp16'; it must be one of fp32, int8"),
        ({"speeds": []}, "speeds is []; it must be an object"),
        ({"speeds": {}}, "d.json: a device runs something"),
        ({"speeds": {"int8": 1}, "network": {"cells": 8}}, "network.rate is missing"),
        ({"speeds": {"int8": 1}, "network": 3}, "network is 3; it must be an object, or null"),
        (
            {"speeds": {"int8": 1}, "network": {"cells": 8, "rate": 1, "names": {}}},
            "network.names is {}; it must be a list",
        ),
        ({"speeds": {"int8": 1}, "sizes": [1, "2"]}, "sizes[1] is '2'; it must be a whole number"),
        ({"speeds": {"int8": 1}, "sizes": [1, 2, 3]}, "[1, 2, 3]; it must be at most 2 values"),
        ({"speeds": {"int8": 1}, "title": " "}, "title is ' '; it must be text that is not blank"),
        ({"speeds": {"int8": 1}, "nework": {}}, "nework is an unknown field (did you mean netw"),
        (
            {"speeds": {"int8": 1}, "network": {"cells": 8, "rate": 1, "x": 0}},
            "network.x is an unknown field",
        ),
    ],
)
def test_the_part_that_does_not_fit_is_found(value: object, message: str) -> None:
    with pytest.raises(RunError, match=re.escape(message)):
        to_record(value, _Device, source="d.json", closed=True)


def test_an_unknown_field_is_let_pass_where_a_record_is_open() -> None:
    value = {"speeds": {"int8": 1}, "x": 1}
    assert to_record(value, _Device, source="d.json").speeds == {"int8": 1.0}


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(RunError, match="nested too deeply"):
        decode_json(b"[" * 100_000, list[Any], source="f.json")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b'\xef\xbb\xbf{"cells": 8, "rate": 1, "names": ["a"]}')
    assert read_record(path, _Network) == _Network(cells=8, rate=1.0, names=("a",))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_record(tmp_path / "none.json", _Network, error=DataError)
    with pytest.raises(RunError, match="Is a directory"):
        read_record(tmp_path, _Network)
    with pytest.raises(RunError, match=r"a\\x00b cannot be read"):
        read_record(tmp_path / "a\0b", _Network)
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(RunError, match="over 16 MiB"):
        read_record(huge, _Network)


def test_a_decoded_value_is_checked_alike() -> None:
    assert to_record({"cells": 8, "rate": 2}, _Network, source="header").rate == 2.0
    with pytest.raises(RunError, match="header: cells is '8'; it must be a whole number"):
        to_record({"cells": "8", "rate": 2}, _Network, source="header")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("value", "where"),
    [
        (lambda number: number, "it"),
        (lambda number: {"a": 1.0, "b": {"c": [2, number]}}, r"b\.c\[1\]"),
        (lambda number: [({"x": number},)], r"\[0\]\[0\]\.x"),
    ],
    ids=["bare", "deep", "tuples"],
)
def test_json_never_holds_a_number_that_is_not_finite(
    number: float, value: Callable[[float], object], where: str
) -> None:
    with pytest.raises(RunError, match=f"^result: {where} is {number}, and only finite"):
        encode_json(value(number), source="result")


def test_finite_values_are_written_as_json_has_them() -> None:
    value = {"a": [1, 2.5, None, True], "größe": "\x1b"}
    assert json.loads(encode_json(value, source="x", indent=1)) == value


def test_nothing_writes_json_that_may_hold_a_nan() -> None:
    """But texts of errors, which show what was read."""
    root = Path(__file__).parents[1]
    patterns = ("sdedge/**/*.py", "cli/*.py", "kernels/**/*.py", "benchmarks/*.py")
    calls = [call for each in patterns for file in root.glob(each) for call in _dumps(file)]
    assert calls
    assert not [call for call in calls if "allow_nan=False" not in call]


def _dumps(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    messages = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    shown = {id(node) for message in messages for node in ast.walk(message)}
    return [
        f"{file.name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.dumps", "json.dump")
        and id(node) not in shown
    ]
