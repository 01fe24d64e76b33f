"""The whole chain on real input: a folder of images in, a latency figure out."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sdedge.cli.main import app
from sdedge.data.shapes import draw

FORM = "triton" if torch.cuda.is_available() else "cpu"
TINY = ("--channels", "4", "--cells", "3", "--batch-size", "8", "--epochs", "2")


def sdedge(*arguments: str | Path) -> dict[str, object]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders of JPEGs of several sizes, one of them unreadable."""
    root = tmp_path / "images"
    for index in range(48):
        size = 16 + index % 5
        drawing = draw(0, "train", index, size)
        target = root / f"kind-{index % 3}" / f"{index}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing.image).save(target)
    (root / "kind-0" / "broken.jpg").write_bytes(b"not an image")
    return root


@pytest.mark.slow
def test_from_a_folder_of_images_to_a_latency_figure(folder: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", ("--data-root", tmp_path / "data")
    searched = sdedge(
        "search",
        "--preset",
        "demo",
        "--dataset",
        folder,
        "--image-size",
        "16",
        "--epoch-images",
        "16",
        "--run",
        run,
        *TINY,
        *data,
    )
    assert searched["epochs"] == 2
    trained = sdedge("train", "--preset", "demo", "--run", run, *TINY)
    exported = sdedge("export", "--onnx", "--run", run)
    assert exported["onnx_accuracy"] == exported["torch_accuracy"]
    assert exported["onnx_accuracy"] == pytest.approx(trained["test_accuracy"], abs=1e-9)
    profiled = sdedge("bench", "--run", run)
    assert profiled["model_size_bytes"] == exported["file_size_bytes"]
    for name in (
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "genotype.json",
        "cell.svg",
        "cell.png",
        "weights.safetensors",
        "model.onnx",
        "export.json",
        "bench.json",
    ):
        assert (run / name).stat().st_size > 0, name
    environment = json.loads((run / "environment.json").read_text())
    fused = dict.fromkeys(("mixed_sum", "pools", "separable", "supernet"), FORM)
    masked_mse = "triton" if FORM == "triton" else "reference"
    assert environment["search"]["kernels"] == {"masked_mse": masked_mse, **fused}
    assert environment["search"]["step"] == environment["train"]["step"] == "eager"

    session = onnxruntime.InferenceSession(run / "model.onnx")
    logits = session.run(["logits"], {"input": np.zeros((5, 3, 16, 16), np.float32)})[0]
    assert logits.shape == (5, 3)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"])
