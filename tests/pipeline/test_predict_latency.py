"""predict_latency: reports for targets, a target that is one JSON file, and work done once."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

import sdedge
from factories.onnx_models import CONV, classifier
from sdedge.deploy.fit.check import Limits
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.targets.target import list_targets, load_target
from sdedge.errors import ConfigError, ExportError, RunError, TargetError
from sdedge.events import Event, Notice
from sdedge.files import write_json
from sdedge.pipeline.predict import BudgetLimitsTaken
from sdedge.run import RunDir

ROOT = Path(__file__).parents[2]
CONVOLUTION, WEIGHTS = CONV


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.onnx"
    onnx.save(classifier([CONVOLUTION], [WEIGHTS]), path)
    return path


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The profile in docs/extending.md."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    profile = re.search(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert profile
    path = tmp_path / "boards" / "toy.json"
    path.parent.mkdir()
    path.write_text(profile[1])
    return path


def test_a_target_is_one_json_file(model: Path, toy: Path) -> None:
    (report,) = sdedge.predict_latency(model, toy)
    graph, parts = read_graph(model), report.prediction.by_kind_ms
    assert parts["run"] == pytest.approx(0.01)
    assert parts["dense"] > 0.05 + graph.macs / 0.05e9 * 0.9  # its launch, and most MACs
    assert sum(parts.values()) == report.prediction.latency_ms
    assert report.prediction.high_ms == 2 * report.prediction.latency_ms
    assert (report.target.name, report.target.title, report.precision) == (
        "toy",
        "Toy board",
        "fp32",
    )
    assert report.fit.fits


def test_a_file_in_the_folder_of_profiles_has_a_name(
    model: Path, toy: Path, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match="no target 'toy'"):
        sdedge.predict_latency(model, "toy")
    folder = tmp_path / "home" / "sdedge" / "targets"
    folder.mkdir(parents=True)
    toy.rename(folder / "toy.json")
    (report,) = sdedge.predict_latency(model, "toy")
    assert report.target.title == "Toy board"
    assert "toy" in {report.target.name for report in sdedge.predict_latency(model)}


def test_every_target_has_a_report_for_each_precision_that_it_runs(model: Path) -> None:
    reports = sdedge.predict_latency(model)
    expected = [(target.name, p) for target in list_targets() for p in target.precisions]
    assert sorted((report.target.name, report.precision) for report in reports) == sorted(expected)
    some = sdedge.predict_latency(model, ["pi4", load_target("watch")], precision="int8")
    assert [(report.target.name, report.precision) for report in some] == [
        ("pi4", "int8"),
        ("watch", "int8"),
    ]


def test_a_file_is_read_and_its_memory_planned_once_for_all_targets(model: Path) -> None:
    reports = sdedge.predict_latency(model)
    for precision in ("fp32", "int8"):
        same = [report for report in reports if report.precision == precision]
        assert len(same) > 5
        assert {id(report.variant.graph) for report in same} == {id(same[0].variant.graph)}
        assert {id(report.fit.memory) for report in same} == {id(same[0].variant.memory)}


def test_limits_are_keywords(model: Path, toy: Path) -> None:
    (report,) = sdedge.predict_latency(model, toy, max_latency_ms=0.01, max_params=10_000)
    assert report.limits == Limits(max_latency_ms=0.01, max_params=10_000)
    assert report.fit.missed == ("max_latency_ms",)


def run_with_budget(folder: Path, model: Path) -> RunDir:
    run = RunDir.create("run", folder)
    write_json(run.config, {"train": {}})
    run.onnx.write_bytes(model.read_bytes())
    budget = Requirements(
        target=load_target("pi4"),
        limits=Limits(max_params=5),
        precision="fp32",
        classes=4,
        image_size=8,
    )
    write_json(run.budget, budget.to_dict())
    return run


def test_a_run_lends_its_limits_and_keeps_the_reports(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = run_with_budget(tmp_path / "run", model)
    events: list[Event] = []
    reports = sdedge.predict_latency(run.path, "watch", precision="int8", reporter=events.append)
    assert events == [
        Notice(f"run directory {run.path}"),
        BudgetLimitsTaken(Limits(max_params=5), "pi4"),
    ]
    assert [report.fit.missed for report in reports] == [("max_params",)]
    kept = json.loads(run.targets.read_text())
    assert kept["limits"] == {"max_params": 5}
    assert kept["targets"] == json.loads(json.dumps([report.to_dict() for report in reports]))
    assert capfd.readouterr() == ("", "")


def test_the_result_of_an_earlier_link_names_its_run(model: Path, tmp_path: Path) -> None:
    class Result:
        run = run_with_budget(tmp_path / "run", model).path

    assert (
        sdedge.predict_latency(Result(), "pi4", precision="fp32")[0].variant.file.parent
        == Result.run
    )


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"precision": "fp16"}, ConfigError, "precision is 'fp16'; choose from fp32, int8"),
        ({"max_ram_kb": -1}, ConfigError, "--max-ram-kb is -1"),
        ({"target": "nowhere"}, TargetError, "no target 'nowhere'"),
        ({"target": "cortex-m4", "precision": "fp32"}, TargetError, "nothing to predict in fp32"),
        ({"shape": (3, 9, 9)}, ExportError, "shape"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    model: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sdedge.predict_latency(model, **settings)


def test_without_a_run_there_is_nothing_to_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run directory below"):
        sdedge.predict_latency()


def test_a_network_is_found_by_target_objects_too(model: Path, toy: Path) -> None:
    slow = replace(load_target(toy), threads=7)
    assert sdedge.predict_latency(model, slow)[0].target.threads == 7
