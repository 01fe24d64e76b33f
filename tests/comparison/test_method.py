"""How a method of a comparison is written."""

from typing import Any

import pytest

from sdedge.comparison.method import Method
from sdedge.errors import ConfigError

STRATEGIES, TASKS = ("darts", "beta", "pc-darts"), ("semantic", "classification")


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        ("beta", {"strategy": "beta", "task": "classification"}),
        ("semantic", {"strategy": "darts", "task": "semantic"}),
        ("pc-darts+beta@semantic", {"strategy": "pc-darts+beta", "task": "semantic"}),
        (
            " semantic:mask_ratio=0.4:strategy_note=a ",
            {"strategy": "darts", "task": "semantic", "mask_ratio": 0.4, "strategy_note": "a"},
        ),
        ("random", {}),
    ],
)
def test_a_method_is_a_strategy_a_task_or_both(label: str, settings: dict[str, Any]) -> None:
    method = Method.parse(label, STRATEGIES, TASKS)
    assert method.label == label.strip()
    assert method.settings == settings
    assert method.random == (label == "random")
    assert ":" not in method.folder


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("alpha", "'alpha' is neither a strategy \\(darts, beta, pc-darts\\) nor a task"),
        ("darts@rotation", "unknown task 'rotation'; choose from semantic, classification"),
        ("darts:channels", "method darts:channels: 'channels' is not of the form NAME=VALUE"),
        ("darts:task=semantic", "task is given twice"),
        ("darts:seed=3", "is for the whole comparison to say"),
        ("darts:dataset=cifar10", "is for the whole comparison to say"),
        ("random:channels=4", "'random' is neither a strategy"),
    ],
)
def test_what_is_no_method_is_refused(label: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Method.parse(label, STRATEGIES, TASKS)


def test_a_method_stays_in_its_folder() -> None:
    method = Method.parse("darts:target=../../x", STRATEGIES, TASKS)
    assert method.folder == "darts,target=..%2F..%2Fx"
