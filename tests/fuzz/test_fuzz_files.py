"""Thousands of damaged files and texts: each is read or refused."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("module", ["records", "cells", "tables", "checkpoints"])
def test_mutated_files_are_read_or_refused(fuzz: Callable[..., Any], module: str) -> None:
    report = fuzz(f"fuzzing.{module}", 2_000, seed=0)
    assert report.failures == []
    assert report.read + report.refused == 2_000
    assert min(report.read, report.refused) > 5
