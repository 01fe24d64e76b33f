"""Thousands of damaged pictures: each is decoded or refused."""

from collections.abc import Callable
from typing import Any


def test_mutated_pictures_are_read_or_refused(fuzz: Callable[..., Any]) -> None:
    report = fuzz("fuzzing.images", 2_000, seed=0)
    assert report.failures == []
    assert report.read + report.refused == 2_000
    assert min(report.read, report.refused) > 200
