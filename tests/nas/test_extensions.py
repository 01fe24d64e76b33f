"""The recipes of docs/extending.md for a strategy and a task, each with a toy that is searched.

A toy uses public names alone; what the page shows of it stands here word for word.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from sdedge import ConfigError, SearchConfig, SearchResult, search
from sdedge.data.augment import Augmentation
from sdedge.nas.alphas import Alphas, edge_rows
from sdedge.nas.scalars import ScheduledScalar, ScheduledScalars
from sdedge.nas.strategies import incompatible_with, register_strategy
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.tasks import register_task
from sdedge.nas.tasks.task import Task, TaskBatch, TaskLoss, TaskSetting
from sdedge.space.supernet import SupernetOutput

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
TINY = {
    "preset": "demo",
    "device": "cpu",
    "space": "nas-bench-201",
    "cells": 1,
    "channels": 4,
    "epochs": 2,
    "alpha_lr": 0.2,
    "alpha_warmup": 0.0,
    "batch_size": 8,
    "epoch_images": 16,
    "valid_images": 8,
}

# A strategy

SHARPNESS = ScheduledScalar("sharpness")


def entropy(alphas: Alphas, scalars: ScheduledScalars) -> Tensor:
    """The mean entropy of an edge's mixing weights, which weighs more from epoch to epoch."""
    logs = edge_rows(alphas).log_softmax(dim=1)
    return scalars[SHARPNESS] * -(logs.exp() * logs).sum(dim=1).mean()


SHARP = replace(
    DARTS,
    name="sharp",
    summary="a penalty on the entropy of each edge makes alpha decide",
    paper="https://arxiv.org/abs/1806.09055",
    schedules={SHARPNESS: lambda epoch, epochs: 20 * (epoch + 1) / epochs},
    penalties=(entropy,),
)


def entropy_at_the_end(result: SearchResult) -> float:
    return float(result.records[-1]["alpha_entropy_cell"])


def test_a_strategy_from_outside_is_searched_alone_and_combined(tmp_path: Path) -> None:
    with register_strategy(SHARP):
        found = search(strategy="sharp", run=tmp_path / "sharp", **TINY)
        both = search(strategy="sharp+pc-darts", run=tmp_path / "both", **TINY)
        assert not incompatible_with(SHARP)
    usual = search(strategy="darts", run=tmp_path / "darts", **TINY)
    assert found.config.strategy == "sharp"
    assert both.config.strategy == "sharp+pc-darts"
    assert entropy_at_the_end(found) < entropy_at_the_end(usual) - 0.1
    with pytest.raises(ConfigError, match="unknown strategy 'sharp'"):
        search(strategy="sharp", run=tmp_path / "again", **TINY)


# A task


class BrightnessTask(Task):
    """How bright is the image: a regression from the pooled features."""

    augmentation = Augmentation(flip=True)
    reads_classes = False
    harmonised = False

    def __init__(self, config: SearchConfig, setting: TaskSetting) -> None:
        super().__init__()
        self.head = nn.Linear(setting.feature_channels, 1)

    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """target: (N,), the mean of the normalised pixels."""
        return TaskBatch(images, images, labels, images.mean(dim=(1, 2, 3)))

    def loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """Mean squared error."""
        brightness = self.head(output.features.mean(dim=(2, 3))).squeeze(1)
        error = nn.functional.mse_loss(brightness, batch.target)
        return TaskLoss(error, {"loss": error.detach()})


def test_a_task_from_outside_is_searched(tmp_path: Path) -> None:
    with register_task("brightness", BrightnessTask):
        found = search(task="brightness", run=tmp_path / "run", **TINY)
    assert found.config.task == "brightness"
    losses = [record["train_loss"] for record in found.records]
    assert losses[1] < losses[0]
    assert "valid_accuracy" not in found.records[0]
    with pytest.raises(ConfigError, match="unknown task 'brightness'"):
        search(task="brightness", run=tmp_path / "again", **TINY)


def test_a_strategy_that_needs_class_scores_refuses_a_task_without(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"strategy": "cdarts", "task": "brightness", **TINY}
    with (
        register_task("brightness", BrightnessTask),
        pytest.raises(ConfigError, match="cdarts compares class scores, which the brightness task"),
    ):
        search(run=tmp_path / "run", **settings)


@pytest.mark.parametrize("heading", ["A strategy", "A task"])
def test_the_page_shows_the_toy_word_for_word(heading: str) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks
    source = Path(__file__).read_text(encoding="utf-8")
    for block in blocks:
        for part in block.split("\n\n\n"):
            if not part.startswith(("from ", "import ")):
                assert part.strip() in source, part
