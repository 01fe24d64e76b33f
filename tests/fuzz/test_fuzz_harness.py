"""The fuzzer sees what it looks for, and goes on after it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Fails in the way that the sum of the input says.
TARGET = """
import os, time
from fuzzing.harness import Target

held = []

def read(data):
    kind = sum(data) % 16
    if kind == 1: raise ValueError("meant")
    if kind == 2: raise KeyError("escaped")
    if kind == 3: os._exit(9)
    if kind == 4: held.append(bytearray(64 << 20)); held.clear()
    if kind == 5: time.sleep(600)

def target(folder):
    return Target((bytes(range(0, 256, 8)),), read, (ValueError,))
"""


def test_every_kind_of_failure_is_reported_and_survived(
    fuzz: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fuzzing.harness import Target, mutation

    (tmp_path / "toy_target.py").write_text(TARGET)
    monkeypatch.syspath_prepend(tmp_path)
    target = Target((bytes(range(0, 256, 8)),), len, ())
    kinds = [sum(mutation(target, 0, number)) % 16 for number in range(40)]
    expected = Counter(kinds)
    assert all(expected[kind] for kind in range(6)), "choose another seed"
    report = fuzz("toy_target", 40, seed=0, seconds=1, memory_bytes=32 << 20)
    found = Counter(failure.kind for failure in report.failures)
    assert found == {
        "exception": expected[2],
        "death": expected[3],
        "memory": expected[4],
        "hang": expected[5],
    }
    assert report.refused == expected[1]
    assert report.read == expected[0] + sum(expected[kind] for kind in range(6, 16))
    (first, *_) = (failure for failure in report.failures if failure.kind == "exception")
    assert kinds[first.number] == 2
    assert first.detail.startswith("KeyError at toy_target.py:")


def test_a_mutation_follows_from_its_number(fuzz: Callable[..., Any]) -> None:
    from fuzzing.harness import Target, mutation

    target = Target((b"one original", b'{"another": 12}'), len, ())
    data = [mutation(target, 3, number) for number in range(100)]
    assert data == [mutation(target, 3, number) for number in range(100)]
    assert len(set(data)) > 90
    assert data[0] != mutation(target, 4, 0)


def test_a_target_that_cannot_be_loaded_is_an_error(fuzz: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="could not be loaded"):
        fuzz("no_such_target", 1)


def test_numbers_of_a_text_are_changed(fuzz: Callable[..., Any]) -> None:
    from fuzzing import mutations

    rng = np.random.default_rng(0)
    changed = {mutations._set_text(b'{"epochs": 12}', (), rng) for _ in range(200)}
    assert b'{"epochs": 1e999}' in changed
    assert b'{"epochs": null}' in changed
