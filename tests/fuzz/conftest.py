"""The fuzzer of the benchmarks, as its command imports it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def fuzz() -> Iterator[Callable[..., Any]]:
    """`fuzzing.harness.fuzz`: a module with a target, mutations and a seed to a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        from fuzzing.harness import fuzz

        yield fuzz
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzzing"]:
        del sys.modules[name]
