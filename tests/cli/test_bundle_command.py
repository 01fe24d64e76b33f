"""`sdedge bundle`: a run with an export in, one zip out."""

import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from factories.exports import to_onnx
from factories.networks import describe
from sdedge.cli.bundle import bundle
from sdedge.config import TrainConfig
from sdedge.data.shapes import draw
from sdedge.deploy.board import bundle as bundle_module
from sdedge.files import write_json
from sdedge.run import RunDir

MEAN, STD = (0.5, 0.25, 0.75), (0.25, 0.5, 1.0)


def sdedge_bundle(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(bundle)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten images in two classes, red and blue."""
    for index in range(10):
        file = tmp_path / "images" / ("red", "blue")[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(0, "train", index, 16).image).save(file)
    return tmp_path / "images"


@pytest.fixture
def run(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run that exported a network, not trained; the bundle takes no micro-benchmarks."""
    monkeypatch.setattr(bundle_module, "micro_models", dict)
    torch.manual_seed(0)
    description = describe("DARTS_V2", cells=2, classes=("blue", "red"), mean=MEAN, std=STD)
    run = RunDir(tmp_path / "run")
    settings = {"dataset": str(images), "image_size": 16, "data_root": str(tmp_path / "data")}
    write_json(run.config, {"train": TrainConfig.from_preset("demo", settings).to_dict()})
    model = to_onnx(description.build().eval(), description)
    run.onnx.write_bytes(model.SerializeToString())
    return run


def test_images_are_prepared_as_the_model_expects(run: RunDir) -> None:
    result = sdedge_bundle("--run", run.path, "--json")
    assert result.exit_code == 0, result.output
    path = run.path / "bundle.zip"
    assert json.loads(result.stdout) == {
        "bundle": str(path),
        "size_bytes": path.stat().st_size,
        "models": ["model.onnx"],
    }
    with zipfile.ZipFile(path) as archive, archive.open("sdedge-bundle/samples/model.npz") as file:
        samples = np.load(file)
        prepared, logits = samples["images"], samples["logits"]
    pixels = (prepared * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))) * 255
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
    drawn = {draw(0, "train", index, 16).image.tobytes() for index in range(10)}
    for image in pixels.round().astype(np.uint8).transpose(0, 2, 3, 1):
        assert image.tobytes() in drawn
    session = ort.InferenceSession(run.onnx)
    np.testing.assert_allclose(session.run(None, {"input": prepared})[0], logits, atol=1e-5)


def test_both_precisions_go_into_the_named_file(run: RunDir, tmp_path: Path) -> None:
    run.onnx_int8.write_bytes(run.onnx.read_bytes())
    result = sdedge_bundle("--run", run.path, "--out", tmp_path / "board.zip")
    assert result.exit_code == 0, result.output
    assert "Bundled model.onnx, model.int8.onnx in" in result.stdout
    names = zipfile.ZipFile(tmp_path / "board.zip").namelist()
    assert {"sdedge-bundle/model.onnx", "sdedge-bundle/model.int8.onnx"} <= {*names}
    assert not (run.path / "bundle.zip").exists()


def test_the_command_for_the_board_quotes_the_name_of_the_file(run: RunDir, tmp_path: Path) -> None:
    result = sdedge_bundle("--run", run.path, "--out", tmp_path / "my board's.zip")
    name = shlex.quote("my board's.zip")
    assert f"python3 -m zipfile -e {name} . && cd" in " ".join(result.stdout.split())


def test_a_run_without_an_export_is_told_what_to_do(run: RunDir) -> None:
    run.onnx.unlink()
    result = sdedge_bundle("--run", run.path)
    assert result.exit_code == 1
    assert f"make it with `sdedge export --run {run.path}`" in result.stderr


def test_a_truncated_model_is_named_and_the_old_bundle_stays(run: RunDir) -> None:
    (run.path / "bundle.zip").write_bytes(b"earlier")
    run.onnx.write_bytes(run.onnx.read_bytes()[:1000])
    result = sdedge_bundle("--run", run.path)
    assert result.exit_code == 1
    assert "model.onnx" in result.stderr
    assert (run.path / "bundle.zip").read_bytes() == b"earlier"


def test_a_place_that_takes_no_file_is_told_before_anything_is_run(run: RunDir) -> None:
    for place in (run.path, Path(".")):
        done = sdedge_bundle("--run", run.path, "--out", place)
        assert done.exit_code == 1
        assert "it is a folder. Give the name of a file" in " ".join(done.output.split())
        assert "images" not in done.output
