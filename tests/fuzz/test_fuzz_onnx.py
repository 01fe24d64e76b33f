"""Thousands of damaged models: each is read or refused, and native code ends no process of ours."""

from collections.abc import Callable
from typing import Any


def test_mutated_models_are_read_or_refused(fuzz: Callable[..., Any]) -> None:
    report = fuzz("fuzzing.onnx_models", 2_000, seed=0)
    assert report.failures == []
    assert report.read + report.refused == 2_000
    assert report.read > 100
