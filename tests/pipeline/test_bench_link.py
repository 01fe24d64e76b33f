"""bench: what is measured, kept in the run, held against its budget, and said of it."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import sdedge
from factories.exports import to_onnx
from factories.networks import describe
from sdedge.config import TrainConfig
from sdedge.deploy import artifact
from sdedge.deploy.fit import check, evaluate
from sdedge.deploy.fit.check import Limits
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.latency import profiler
from sdedge.errors import ConfigError, RunError
from sdedge.events import Event, Notice
from sdedge.files import write_json
from sdedge.pipeline.memory import measure_memory
from sdedge.run import RunDir


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The export of a network that has not been trained, with a model card."""
    quick = {"warmup_seconds": 0, "min_runs": 3, "min_seconds": 0, "max_seconds": 0.1}
    monkeypatch.setattr(profiler, "run_bench", partial(profiler.run_bench, **quick))
    torch.manual_seed(0)
    description = describe("DARTS_V2", cells=2)
    run = RunDir.create("run", tmp_path / "run")
    write_json(run.config, {"train": TrainConfig(channels=4, cells=2).to_dict()})
    run.onnx.write_bytes(to_onnx(description.build(), description).SerializeToString())
    export = {"parameters": 9, "images": 40, "onnx_accuracy": 0.9, "opset": 13}
    write_json(run.export_report, export)
    run.card.write_text("latency: not measured yet")
    return run


def limit_parameters(run: RunDir, most: int) -> None:
    budget = Requirements(
        target=None,
        limits=Limits(max_params=most),
        precision="fp32",
        classes=5,
        image_size=16,
    )
    write_json(run.budget, budget.to_dict())


def test_a_run_keeps_what_was_measured_and_its_card_says_it(
    run: RunDir, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[Event] = []
    result = sdedge.bench(run.path, threads=1, profile=False, reporter=events.append)
    assert (result.run, result.model, result.verdict) == (run.path, run.onnx, None)
    assert json.loads(run.bench().read_text()) == json.loads(result.measurement.to_json())
    assert f"p50 {result.measurement.latency_p50_ms:.3f} ms" in run.card.read_text()
    assert events == [Notice(f"run directory {run.path}"), Notice("measuring")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("most", "fits"), [(1, False), (10**9, True)])
def test_a_run_is_held_against_its_budget(run: RunDir, most: int, fits: bool) -> None:
    limit_parameters(run, most)
    result = sdedge.bench(run.path, threads=1, profile=False)
    assert result.verdict is not None
    assert result.verdict.fits == fits
    assert json.loads(run.fit.read_text()) == json.loads(json.dumps(result.to_dict()["budget"]))
    assert sdedge.bench(run.path, threads=1, profile=False, verdict=False).verdict is None


def test_predictions_come_with_a_measurement_where_they_are_asked_for(run: RunDir) -> None:
    result = sdedge.bench(run.path, threads=1, profile=False, target="pi4", max_params=10)
    assert [report.precision for report in result.predictions] == ["fp32", "int8"]
    assert not any(report.fit.fits for report in result.predictions)
    value = result.to_dict()
    assert value["limits"] == {"max_params": 10}
    assert value["latency_p50_ms"] == result.measurement.latency_p50_ms


def test_a_file_is_measured_and_nothing_written_beside_it(run: RunDir, tmp_path: Path) -> None:
    file = run.onnx.rename(tmp_path / "alone.onnx")
    result = sdedge.bench(file, threads=1, profile=False)
    assert (result.run, result.model, result.scores) == (None, file, ())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["alone.onnx"]


def test_a_result_of_a_file_is_of_no_run(run: RunDir, tmp_path: Path) -> None:
    result = sdedge.bench(run.onnx.rename(tmp_path / "alone.onnx"), threads=1, profile=False)
    with pytest.raises(RunError, match="this result is of a file outside of any run"):
        measure_memory(result)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_params": 9}, "are of a prediction"),
        ({"confidence": 0.9}, "are of a prediction"),
        ({"partial": True}, "are of a prediction"),
        ({"precision": "fp16"}, "choose from fp32, int8"),
    ],
)
def test_settings_of_what_was_not_asked_for_are_refused(
    run: RunDir, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sdedge.bench(run.path, **settings)
    assert not run.bench().exists()


def test_memory_is_that_of_the_file_or_as_it_would_be_quantised(run: RunDir) -> None:
    plain, quantised = measure_memory(run.path), measure_memory(run.path, as_int8=True)
    assert (plain.run, plain.model) == (run.path, run.onnx)
    assert plain.plan.peak_ram_bytes == 4 * quantised.plan.peak_ram_bytes
    assert plain.to_dict()["flash_bytes"] == plain.flash_bytes > quantised.flash_bytes


def test_a_file_is_read_once_and_planned_once_in_each_precision(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_parameters(run, 1)
    calls: Counter[str] = Counter()

    def count(module: ModuleType, name: str) -> None:
        work = getattr(module, name)

        def counted(*arguments: Any, **settings: Any) -> Any:
            calls[name] += 1
            return work(*arguments, **settings)

        monkeypatch.setattr(module, name, counted)

    count(artifact, "read_graph")
    for module in (artifact, check, evaluate):
        count(module, "plan_memory")
    boards = ["pi4", "pi5", "watch", "imx8mp"]
    result = sdedge.bench(run.path, threads=1, profile=False, target=boards)
    assert len(result.predictions) == 2 * len(boards)
    assert result.verdict is not None
    assert "Predicted, not measured" in run.card.read_text()
    assert calls == {"read_graph": 1, "plan_memory": 2}


def test_an_artifact_is_predicted_and_planned_without_its_file(run: RunDir) -> None:
    opened = artifact.Artifact.open(run.onnx)
    run.onnx.unlink()
    (report,) = sdedge.predict_latency(opened, "pi4", precision="fp32")
    assert report.fit.memory is opened.memory is measure_memory(opened).plan
