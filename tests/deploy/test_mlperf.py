"""MLPerf Tiny: which networks have a score, and which."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from sdedge.deploy.fit.mlperf import Score, score, score_run
from sdedge.errors import RunError
from sdedge.files import write_json
from sdedge.run import RunDir

CIFAR10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
ResNet8 = {"accuracy": 0.85, "file_size_bytes": 98_496, "precision": "int8"}


def scored(**changes: Any) -> Score | None:
    facts: dict[str, Any] = {
        **ResNet8,
        "images": 10_000,
        "dataset": "cifar10",
        "classes": CIFAR10,
        **changes,
    }
    return score(**facts)


def reached(result: Score | None) -> list[tuple[bool, bool]]:
    assert result is not None
    return [(each.accurate, each.small) for each in result.comparisons]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({}, [(True, True), (False, True)]),
        ({"accuracy": 0.8499}, [(False, True), (False, True)]),
        ({"file_size_bytes": 98_497}, [(True, False), (False, True)]),
        ({"accuracy": 0.91, "file_size_bytes": 512_024}, [(True, False), (True, True)]),
        ({"accuracy": 0.95, "file_size_bytes": 512_025}, [(True, False), (True, False)]),
        ({"precision": "fp32", "file_size_bytes": 318_144}, [(True, True), (False, True)]),
        ({"precision": "fp32", "file_size_bytes": 318_145}, [(True, False), (False, True)]),
    ],
)
def test_references_are_those_of_the_closed_division(
    network: dict[str, Any], expected: list[tuple[bool, bool]]
) -> None:
    assert reached(scored(**network)) == expected


@pytest.mark.parametrize(
    "classes", [CIFAR10[:9], [*CIFAR10[:9], "lorry"], [*CIFAR10, "cat"], ["cat", "dog"]]
)
def test_other_classes_have_no_score(classes: list[str]) -> None:
    assert scored(classes=classes) is None


def test_order_and_case_of_the_classes_do_not_matter() -> None:
    assert scored(classes=[name.title() for name in reversed(CIFAR10)]) is not None


def test_what_makes_an_accuracy_incomparable_is_noted() -> None:
    original = scored()
    assert original is not None
    assert original.notes == ()
    copied = scored(dataset="data/cifar10-jpeg", images=1000)
    assert copied is not None
    images, count = copied.notes
    assert "data/cifar10-jpeg" in images
    assert "JPEG" in images
    assert "1,000 of CIFAR-10's 10,000" in count
    assert copied.to_dict()["official"] is False


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """An exported run, as far as a score reads it."""
    run = RunDir(tmp_path)
    write_json(run.config, {"train": {"dataset": "cifar10"}})
    scores = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 10]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", scores[:1], scores[1:])
    model = helper.make_model(graph)
    preprocessing = {
        "image_size": 32,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "normalized_in_graph": False,
        "resize": "none",
    }
    entries = {"classes": CIFAR10, "preprocessing": preprocessing, "genotype": {}}
    texts = {key: json.dumps(value) for key, value in entries.items()}
    helper.set_model_props(model, {**texts, "sdedge_version": "0"})
    onnx.save(model, run.onnx)
    run.onnx_int8.write_bytes(b"\0" * 98_496)
    int8 = {"onnx_accuracy": 0.86, "images": 10_000}
    export = {"onnx_accuracy": 0.92, "images": 10_000, "int8": int8}
    write_json(run.path / "export.json", export)
    return run


def test_files_of_a_run_are_scored_by_their_own_accuracy_and_size(run: RunDir) -> None:
    fp32, int8 = score_run(run)
    assert (fp32.precision, fp32.accuracy) == ("fp32", 0.92)
    assert fp32.file_size_bytes == run.onnx.stat().st_size
    assert (int8.precision, int8.accuracy, int8.file_size_bytes) == ("int8", 0.86, 98_496)


def test_without_a_quantised_file_or_an_export_there_is_less(run: RunDir) -> None:
    run.onnx_int8.unlink()
    assert [each.precision for each in score_run(run)] == ["fp32"]
    (run.path / "export.json").unlink()
    assert score_run(run) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.pop("onnx_accuracy"),
        lambda report: report.pop("int8"),
        lambda report: report["int8"].update(images="many"),
    ],
)
def test_a_damaged_report_is_named(run: RunDir, damage: Callable[[Any], object]) -> None:
    export = run.path / "export.json"
    report = json.loads(export.read_text())
    damage(report)
    write_json(export, report)
    with pytest.raises(RunError, match=r"export\.json lacks .*sdedge export"):
        score_run(run)
