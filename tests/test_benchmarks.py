"""The benchmarks of the search: figures after a green check only; a suite that keeps its time."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sdedge.errors import BenchError
from sdedge.space.darts.fused import fused_cell

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Import as the scripts do, whose folder is the first to be searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield import_module
    for name in ("gpu_suite", "kernels", "search_step", "stepper", "traffic"):
        sys.modules.pop(name, None)


@pytest.fixture
def search_step(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With a tiny supernet for the paper's, and no other."""
    module = load("search_step")
    tiny = module.Setting("paper", channels=2, cells=3, batch=3, image_size=16)
    monkeypatch.setattr(module, "SETTINGS", {"paper": tiny})
    return module


@pytest.fixture
def gpu_suite(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return load("gpu_suite")


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fused supernet whose first edge mixes with slightly wrong weights."""

    def wrong(
        cell: Any, s0: Tensor, s1: Tensor, weights: Tensor, *rest: Any, **extras: Any
    ) -> Tensor:
        factor = torch.ones_like(weights)
        factor[0] = 1.001
        return fused_cell(cell, s0, s1, weights * factor, *rest, **extras)

    monkeypatch.setattr("sdedge.space.darts.supernet.fused_cell", wrong)


@pytest.mark.slow
def test_a_search_step_is_checked_and_measured(
    search_step: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--json", "--rounds", "2", "--threads", "1", "--device", "cpu"]
    assert search_step.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"date", "commit", "device_name", "threads", "packages"} <= report.keys()
    (case,) = report["cases"]
    plain, fused = case["plain"], case["fused"]
    assert report["time_ratio"] == plain["median_seconds"] / fused["median_seconds"]
    assert report["memory_ratio"] == fused["peak_growth_bytes"] / plain["peak_growth_bytes"]
    assert set(plain["kernels"].values()) == {"reference"}
    assert fused["kernels"]["supernet"] == "cpu"
    for form in (plain, fused):
        assert 0 < form["least_seconds"] <= form["median_seconds"] <= form["greatest_seconds"]
        assert 0 < form["peak_growth_bytes"] < form["peak_resident_bytes"]
        assert form["first_step_seconds"] > 0
    assert set(case["errors"]) == {"float64", "float32"}
    assert max(case["errors"]["float64"].values()) < 1e-12


def test_a_profile_lists_the_slowest_operators(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper = load("stepper")
    tiny = stepper.Setting("tiny", channels=2, cells=3, batch=2, image_size=16)
    built = stepper.Stepper(tiny, "fused", torch.device("cpu"))
    monkeypatch.setattr(built, "step", lambda: torch.ones(200, 200) @ torch.ones(200, 200))
    assert "aten::mm" in built.profile()


def test_validation_takes_no_step(load: Callable[[str], ModuleType]) -> None:
    stepper = load("stepper")
    tiny = stepper.Setting("tiny", channels=2, cells=3, batch=2, image_size=16)
    built = stepper.Stepper(tiny, "fused", torch.device("cpu"))
    before = {name: value.clone() for name, value in built.bilevel.supernet.state_dict().items()}
    assert built.validation(2) > 0
    after = built.bilevel.supernet.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert built.bilevel.supernet.training
    assert built.bilevel.task.training


@pytest.mark.usefixtures("_broken")
def test_a_wrong_search_step_is_not_timed(
    search_step: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search_step.main(["--json", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("WRONG at paper: fused is off by ")
    assert not printed.out


@pytest.mark.slow
def test_a_form_that_cannot_run_says_so(
    load: Callable[[str], ModuleType], capfd: pytest.CaptureFixture[str]
) -> None:
    stepper = load("stepper")
    setting = stepper.Setting("of one patch", channels=2, cells=3, batch=2, image_size=8)
    with pytest.raises(BenchError, match="process of the plain form ended with exit code 1"):
        stepper.Child(setting, "plain", torch.device("cpu"))
    assert "mask_ratio is 0.6" in capfd.readouterr().err


def test_the_suite_needs_a_gpu(gpu_suite: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_suite.main([]) == 1
    printed = capsys.readouterr()
    assert "needs a CUDA GPU" in printed.err
    assert not printed.out


@pytest.mark.slow
def test_the_suite_checks_without_a_gpu(
    gpu_suite: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert gpu_suite.main(["--check-only"]) == 0
    unchecked, *right = capsys.readouterr().out.splitlines()
    assert unchecked.startswith("kernels unchecked")
    assert [line.partition(":")[0] for line in right] == [
        "right search step, tiny in float64",
        "right search step, tiny in float32",
    ]


@pytest.mark.usefixtures("_broken")
def test_the_suite_ends_at_a_wrong_search_step(
    gpu_suite: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_suite.kernels, "cases", lambda *_, **__: iter(()))
    assert gpu_suite.main(["--check-only"]) == 1
    assert "WRONG at tiny" in capsys.readouterr().err


def test_the_suite_ends_at_a_wrong_kernel(
    gpu_suite: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    cases = [SimpleNamespace(name="pools")]
    monkeypatch.setattr(gpu_suite.kernels, "cases", lambda *_, **__: iter(cases))
    monkeypatch.setattr(gpu_suite.kernels, "check", lambda _: "tensor 1 is off by 3")
    assert gpu_suite.main(["--check-only"]) == 1
    assert capsys.readouterr().err == "WRONG pools: tensor 1 is off by 3; nothing was timed\n"


def test_a_part_that_does_not_fit_is_skipped(gpu_suite: ModuleType, tmp_path: Path) -> None:
    now = 0.0
    suite = gpu_suite.Suite(tmp_path / "report.json", {"device": "a"}, clock=lambda: now)

    def pieces(over: Callable[[], bool]) -> int:
        nonlocal now
        done = 0
        while not over():
            now += 100
            done += 1
        return done

    suite.run("first", 250, pieces)
    suite.run("second", 300, pieces)
    suite.run("third", 270, pieces)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == {
        "device": "a",
        "first": 3,
        "third": 3,
        "seconds": {"first": 300, "third": 300},
        "skipped": {"second": "takes up to 300 s, and 270 s are left"},
    }


def test_a_roofline_sets_measured_steps_against_a_copy(gpu_suite: ModuleType) -> None:
    tiny = {"name": "tiny", "channels": 2, "cells": 3, "batch": 1, "image_size": 8}
    moved = gpu_suite.step_bytes(2, 3, 1, image_size=8)
    step = {"fused": {"median_seconds": 0.004}, "graphs": {"median_seconds": 0.002}}
    rows = gpu_suite.roofline(
        {
            "copy_bytes_per_ms": moved,
            "search_step": [{**tiny, **step}],
            "scaling": {"rows": [{**tiny, "step_seconds": 0.003}]},
        }
    )
    assert [row["predicted_ms"] for row in rows] == [1.0, 1.0, 1.0]
    assert [row["gap"] for row in rows] == pytest.approx([4.0, 2.0, 3.0])


def test_bytes_of_a_step_equal_a_count_by_hand(load: Callable[[str], ModuleType]) -> None:
    """2 channels, 3 cells (the last two are reductions), one image of 8 x 8; a row a cell."""
    stem = 64 * (3 + 3 * 6) + 64 * (6 * 6 + 3)
    # Inputs; then maps: of sources forward, backward and added up; of nodes; of the cell's end.
    normal = 3 * (384 + 384) + 18 * 128 + 128 * ((147 + 251 + 85) + (102 + 274) + 16)
    wide = (2560 + 1024 + 384) + (3840 + 2560 + 384) + (640 + 7 * 256)  # a source of 8 x 8
    first = 3 * (384 + 512) + 18 * 256 + 2 * wide + 64 * ((69 + 117 + 45) + (102 + 290) + 16)
    half = (2 * wide + 64 * ((69 + 117 + 45) + (102 + 290) + 16)) // 2
    second = 3 * (512 + 256) + 18 * 128 + half
    head = 2 * 4 * 8 * 4
    skips = 14 * 128 + 6 * 64 + 6 * 32
    values = 2 * (stem + normal + first + second + head) + skips
    assert values == 469_376
    traffic = load("traffic")
    assert traffic.step_bytes(2, 3, 1, image_size=8) == 4 * values
    assert traffic.step_bytes(2, 3, 5, image_size=8, value_bytes=2) == 5 * 2 * values
