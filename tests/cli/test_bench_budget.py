"""sdedge bench on a run with a budget: its limits, its target, and the model card."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from factories.exports import to_onnx
from factories.networks import describe
from sdedge.cli.main import app
from sdedge.config import TrainConfig
from sdedge.deploy.fit.check import Limits, check_fit
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.latency import profiler
from sdedge.deploy.targets.target import load_target
from sdedge.files import write_json
from sdedge.run import RunDir


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """An exported network that has not been trained, and a model card."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    short = {"warmup_seconds": 0, "min_runs": 3, "min_seconds": 0, "max_seconds": 0.1}
    monkeypatch.setattr(profiler, "run_bench", partial(profiler.run_bench, **short))
    torch.manual_seed(0)
    description = describe("DARTS_V2", cells=2, classes=2)
    run = RunDir.create("pets", tmp_path / "run")
    write_json(run.config, {"train": TrainConfig(channels=4, cells=2).to_dict()})
    run.onnx.write_bytes(to_onnx(description.build(), description).SerializeToString())
    report = {"parameters": 9, "images": 40, "onnx_accuracy": 0.9, "opset": 13}
    write_json(run.path / "export.json", report)
    run.card.write_text("as exported")
    return run


def budget(run: RunDir, target: str | None = "pi4", **limits: Any) -> None:
    wanted = Requirements(
        target=load_target(target) if target else None,
        limits=Limits(**limits),
        precision="fp32",
        classes=2,
        image_size=16,
    )
    write_json(run.path / "budget.json", wanted.to_dict())


def bench(run: RunDir, *more: str) -> tuple[dict[str, Any], str]:
    command = ("bench", "--run", str(run.path), "--json", *more)
    result: Result = CliRunner().invoke(app, list(command))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), " ".join(result.stderr.split())


def test_a_measurement_ends_with_the_verdict_on_the_budget(run: RunDir) -> None:
    budget(run, max_latency_ms=1000, max_params=1)
    value, text = bench(run, "--no-profile")
    assert not value["budget"]["fits"]
    assert [check["fits"] for check in value["budget"]["checks"]][:2] == [True, False]
    assert json.loads((run.path / "fit.json").read_text()) == value["budget"]
    assert "does not fit its budget" in text
    assert "middle of the prediction is held against the limit" in text
    assert "budget, model.onnx in fp32 on pi4" in text
    assert f"run directory {run.path}" in text
    value, _ = bench(run, "--no-profile", "--device", "cpu")
    assert "budget" not in value  # nothing but a measurement was asked for


def test_the_limits_of_the_budget_stand_where_none_are_given(run: RunDir) -> None:
    budget(run, max_params=1)
    value, text = bench(run, "--all-targets")
    assert value["limits"] == {"max_params": 1}
    assert not any(row["fits"] for row in value["targets"])
    assert "limits of the run's budget, which is for pi4: parameters 1" in text
    value, text = bench(run, "--target", "pi4", "--max-params", "1000000")
    assert value["limits"] == {"max_params": 1000000}
    assert "limits of the run's budget" not in text


def test_limits_of_ones_own_are_held_against_the_target_of_the_run(run: RunDir) -> None:
    budget(run, max_params=1)
    value, _ = bench(run, "--max-params", "1000000")
    assert {row["target"] for row in value["targets"]} == {"pi4"}
    assert value["targets"][0]["fits"]


def test_with_confidence_the_upper_end_of_the_interval_is_held_against_the_limit(
    run: RunDir,
) -> None:
    prediction = check_fit(read_graph(run.onnx), load_target("pi4"), Limits()).prediction
    assert prediction
    between = (prediction.latency_ms + prediction.high_ms) / 2
    budget(run, max_latency_ms=between)
    value, text = bench(run, "--no-profile")
    assert value["budget"]["fits"]
    assert "--confidence 0.9 takes the upper end" in text
    value, text = bench(run, "--no-profile", "--confidence", "0.9")
    assert not value["budget"]["fits"]
    assert value["budget"]["checks"][0]["found"] == prediction.high_ms
    assert "upper end of the 90% interval of the prediction is held against the limit" in text
    budget(run, max_latency_ms=between, confidence=0.9)
    value, _ = bench(run, "--target", "pi4", "--precision", "fp32")
    assert (value["confidence"], value["targets"][0]["fits"]) == (0.9, False)


def test_the_model_card_has_what_was_measured_and_the_verdict(run: RunDir) -> None:
    budget(run, max_latency_ms=1000)
    value, _ = bench(run, "--no-profile")
    card = run.card.read_text()
    assert f"p50 {value['latency_p50_ms']:.3f} ms" in card
    assert "Not measured yet" not in card
    assert "## Budget\n\nMade for Raspberry Pi 4 Model B (target `pi4`, ncnn), in fp32." in card
    assert "| latency | 1,000 ms |" in card
    assert "It fits." in card
    assert "for 90% of networks between" in card
    bench(run, "--target", "watch")
    assert "Predicted, not measured:" in run.card.read_text()
    run.card.unlink()
    bench(run, "--target", "watch")
    assert not run.card.exists()  # it is the export's to make


def test_a_share_alone_needs_something_to_be_held_against(run: RunDir) -> None:
    result = CliRunner().invoke(app, ["bench", "--run", str(run.path), "--confidence", "0.9"])
    assert result.exit_code == 1
    assert "add --target or --all-targets" in " ".join(result.stderr.split())
    result = CliRunner().invoke(app, ["bench", "--run", str(run.path), "--confidence", "1"])
    assert "--confidence is 1.0; it must be a number between 0.5 and 0.99" in result.stderr
