"""sdedge export --int8: two files that belong together, or none."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

from factories.networks import describe
from sdedge.cli.main import app
from sdedge.config import TrainConfig
from sdedge.data.shapes import draw
from sdedge.deploy.latency import compare
from sdedge.run import RunDir
from sdedge.space.saved import save_network

CLASSES = ("kind-0", "kind-1", "kind-2")


def sdedge(*arguments: str | Path) -> tuple[int, str, dict[str, object]]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    value = json.loads(result.stdout) if result.stdout.startswith("{") else {}
    return result.exit_code, result.stderr, value


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run on a folder of images, as if trained; the network is as it was initialised."""
    short = partial(compare.compare_latency, min_turns=3, max_seconds=0.1)
    monkeypatch.setattr(compare, "compare_latency", short)
    images = tmp_path / "images"
    for index in range(60):
        folder = images / CLASSES[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(0, "train", index, 16).image).save(folder / f"{index}.png")
    run = RunDir.create("images", tmp_path / "run")
    config = TrainConfig(
        dataset=str(images),
        data_root=str(tmp_path / "data"),
        image_size=16,
        channels=4,
        cells=3,
        auxiliary=False,
    )
    run.record_phase("train", config.to_dict(), {})
    description = describe("DARTS_V1", classes=CLASSES)
    save_network(run.weights, description.build(), description)
    return run


def export(run: RunDir, *more: str) -> tuple[int, str, dict[str, object]]:
    return sdedge("export", "--onnx", "--run", run.path, "--limit", "5", "--json", *more)


def test_two_files_and_a_recommendation(run: RunDir) -> None:
    (run.path / "bench.int8.json").write_text("{}")
    code, error, value = export(run, "--int8", "--calibration-images", "16")
    assert code == 0, error
    assert json.loads((run.path / "export.json").read_text()).items() <= value.items()
    report = value["int8"]
    assert isinstance(report, dict)
    assert report["file_size_bytes"] == run.onnx_int8.stat().st_size < run.onnx.stat().st_size
    assert report["images"] == 5
    assert report["calibration_images"] == 16
    assert report["recommended"] in ("fp32", "int8")
    assert f"recommended for this CPU: {report['recommended']}" in error
    assert not (run.path / "bench.int8.json").exists()
    x = np.zeros((2, 3, 16, 16), np.float32)
    scores = [
        onnxruntime.InferenceSession(file).run(["logits"], {"input": x})[0]
        for file in (run.onnx, run.onnx_int8)
    ]
    assert scores[0].shape == scores[1].shape == (2, 3)


def test_an_export_without_int8_removes_the_earlier_one(run: RunDir) -> None:
    run.onnx_int8.write_bytes(b"of another network")
    code, error, value = export(run)
    assert code == 0, error
    assert not run.onnx_int8.exists()
    assert "int8" not in value


def test_where_int8_fails_fp32_is_exported_all_the_same(run: RunDir) -> None:
    run.onnx.write_bytes(b"earlier")
    run.onnx_int8.write_bytes(b"earlier int8")
    code, error, _ = export(run, "--int8", "--calibration-images", "1")
    assert code == 1
    assert f"{run.onnx_int8} was not made, {run.onnx} was: the 1 calibration images" in error
    assert "raise --calibration-images" in error
    onnxruntime.InferenceSession(run.onnx)
    assert not run.onnx_int8.exists(), "it is of another network"
    assert "int8" not in json.loads((run.path / "export.json").read_text())
    assert "model.int8.onnx" not in run.card.read_text()


def test_few_images_calibrate_and_leave_some_to_choose_by(run: RunDir) -> None:
    code, error, value = export(run, "--int8")
    assert code == 0, error
    report = value["int8"]
    assert isinstance(report, dict)
    used, held_out = report["calibration_images"], report["held_out_images"]
    assert held_out == (used + held_out) // 5 > 0
    assert f"the training images gave {used} of 512 to calibrate on" in error
    assert f"{held_out} others" in error


def test_what_a_new_export_removes_is_told(run: RunDir) -> None:
    export(run, "--int8", "--calibration-images", "16")
    (run.path / "bench.json").write_text("{}")
    code, error, value = export(run, "--normalize")
    assert code == 0, error
    assert not run.onnx_int8.exists()
    assert value["removed"] == ["bench.json", "model.int8.onnx"]
    assert "removed, as of the earlier export: bench.json, model.int8.onnx" in error
    assert f"sdedge export --int8 --normalize --run {run.path}" in error
    code, error, value = export(run, "--normalize")
    assert "removed" not in error
    assert "removed" not in value
