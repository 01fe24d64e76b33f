"""One trial: searched, trained, resumed, read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdedge.comparison.method import Method
from sdedge.comparison.plan import Plan
from sdedge.comparison.trial import run_trial
from sdedge.config import PhaseConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import InterruptedRunError, RunError
from sdedge.events import Event, Reporter
from sdedge.loop import EpochEnded

SETTINGS = {
    "space": "nas-bench-201",
    "channels": 2,
    "cells": 1,
    "epochs": 2,
    "batch_size": 4,
    "patch_size": 4,
    "device": "cpu",
}
SEMANTIC = Method("semantic", {"strategy": "darts", "task": "semantic"})
PLAN = Plan(methods=(SEMANTIC,), seeds=(1,), preset="paper", settings=SETTINGS)


@pytest.fixture
def opened(tiny_dataset: Dataset) -> Any:
    return lambda config: tiny_dataset


def test_a_trial_tells_what_it_found_and_a_finished_one_is_read(
    tmp_path: Path, opened: Any, reporter: Reporter
) -> None:
    row = run_trial(PLAN, SEMANTIC, 1, tmp_path / "t", opened, reporter)
    assert row["method"] == "semantic"
    assert row["genotype"]["space"] == "nas-bench-201"
    assert json.loads((tmp_path / "t" / "genotype.json").read_text()) == row["genotype"]
    assert {"params", "macs", "skip_count", "collapsed", "valid_accuracy", "epoch"} <= row.keys()
    assert row["search_seconds"] > 0
    assert row["peak_memory_bytes"] > 2**20

    def closed(config: PhaseConfig) -> Dataset:
        raise AssertionError("a finished trial needs no data")

    assert run_trial(PLAN, SEMANTIC, 1, tmp_path / "t", closed, reporter) == row


def test_a_random_architecture_comes_from_its_seed_and_needs_no_data(
    tmp_path: Path, reporter: Reporter
) -> None:
    def drawn(seed: int, folder: str) -> Any:
        random = Method("random")
        return run_trial(PLAN, random, seed, tmp_path / folder, lambda config: None, reporter)  # type: ignore[arg-type, return-value]

    first, same, other = drawn(1, "a"), drawn(1, "b"), drawn(2, "c")
    assert first == same
    assert first["genotype"] != other["genotype"]
    assert "search_seconds" not in first


def test_what_was_interrupted_goes_on_and_finds_the_same(
    tmp_path: Path, opened: Any, reporter: Reporter
) -> None:
    def stop_after_an_epoch(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise InterruptedRunError("stopped")

    straight = run_trial(PLAN, SEMANTIC, 1, tmp_path / "straight", opened, reporter)
    with pytest.raises(InterruptedRunError):
        run_trial(PLAN, SEMANTIC, 1, tmp_path / "cut", opened, stop_after_an_epoch)
    assert not (tmp_path / "cut" / "trial.json").exists()
    resumed = run_trial(PLAN, SEMANTIC, 1, tmp_path / "cut", opened, reporter)
    assert resumed["genotype"] == straight["genotype"]
    assert resumed["valid_accuracy"] == straight["valid_accuracy"]

    elsewhere = replace(PLAN, settings={**SETTINGS, "data_root": "/elsewhere"})
    assert run_trial(elsewhere, SEMANTIC, 1, tmp_path / "cut", opened, reporter) == resumed
    other = replace(PLAN, settings={**SETTINGS, "alpha_lr": 0.1})
    with pytest.raises(RunError, match=r"trial\.json is of another trial"):
        run_trial(other, SEMANTIC, 1, tmp_path / "cut", opened, reporter)
    with pytest.raises(RunError, match=r"trial\.json is of another trial"):
        run_trial(PLAN, SEMANTIC, 2, tmp_path / "cut", opened, reporter)
    (tmp_path / "cut" / "trial.json").unlink()
    with pytest.raises(RunError, match="holds a search with other settings"):
        run_trial(other, SEMANTIC, 1, tmp_path / "cut", opened, reporter)
    for text in ("{}", json.dumps({**straight, "params": "many"}), json.dumps({"method": 3})):
        (tmp_path / "cut" / "trial.json").write_text(text)
        with pytest.raises(RunError, match=r"trial\.json is damaged"):
            run_trial(PLAN, SEMANTIC, 1, tmp_path / "cut", opened, reporter)


def test_a_trial_in_the_darts_space_trains_what_it_found(
    tmp_path: Path, opened: Any, reporter: Reporter
) -> None:
    plan = replace(
        PLAN,
        settings={**SETTINGS, "space": "darts", "cells": 3, "epochs": 1},
        train="quick",
        train_settings={"channels": 4, "cells": 3, "epochs": 1, "batch_size": 8},
    )
    row = run_trial(plan, SEMANTIC, 1, tmp_path / "t", opened, reporter)
    assert 0 <= row["test_accuracy"] <= 1
    assert (tmp_path / "t" / "weights.safetensors").exists()
    assert row["params"] < 50_000  # of the network that was trained, not of the paper's
