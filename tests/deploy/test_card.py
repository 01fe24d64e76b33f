"""The model card: facts of the run and no others, and programs that run as they stand."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from factories.exports import to_onnx
from factories.reports import INT8, REPORT
from sdedge.config import TrainConfig
from sdedge.data.decode import decode_file
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.classes import ClassCount, count_by_class
from sdedge.deploy.card.snippets import cpp_snippet
from sdedge.deploy.card.write import card_text, write_card
from sdedge.deploy.export import write_export
from sdedge.deploy.formats.onnx.metadata import read_metadata
from sdedge.errors import ExportError, RunError
from sdedge.files import write_json
from sdedge.genotype import published
from sdedge.run import RunDir, read_json
from sdedge.space.saved import NetworkDescription

CLASSES = ("cat", "d|g", 'the "bird"')
COUNTS = (
    ClassCount(name="cat", images=20, fp32_correct=19, int8_correct=18),
    ClassCount(name="d|g", images=20, fp32_correct=16, int8_correct=16),
    ClassCount(name='the "bird"', images=0, fp32_correct=0, int8_correct=0),
)
BENCH: dict[str, Any] = {
    "model": "model.onnx",
    "cpu_model": "Raspberry Pi 4 Model B",
    "threads": 4,
    "batch_size": 1,
    "onnxruntime_version": "1.31.1",
    "latency_p50_ms": 1.5,
    "latency_p95_ms": 1.75,
    "latency_p99_ms": 2.25,
    "runs": 1500,
    "settled": False,
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RunDir]:
    """A run with the export of a tiny network that was not trained."""

    def build(*, normalize: bool = False) -> RunDir:
        torch.manual_seed(3)
        description = NetworkDescription(
            genotype=published()["DARTS_V2"].genotype,
            channels=4,
            cells=2,
            stem="cifar",
            classes=CLASSES,
            image_size=16,
            mean=(0.5, 0.25, 1 / 3),
            std=(0.25, 1.0, 2 / 3),
            dataset="pets",
        )
        run = RunDir(tmp_path / "run")
        config = TrainConfig.from_preset(
            "demo", {"dataset": "/somebody/private/pets", "channels": 4, "cells": 2, "seed": 7}
        )
        write_json(run.config, {"train": config.to_dict()})
        network = description.build().eval()
        model = to_onnx(network, description, normalize=normalize).SerializeToString()
        run.onnx.write_bytes(model)
        run.onnx_int8.write_bytes(model)
        write_json(run.path / "export.json", REPORT.to_dict())
        return run

    return build


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def snippet(text: str, language: str) -> str:
    return text.partition(f"```{language}\n")[2].partition("```")[0]


class TestFacts:
    def test_of_an_fp32_export(self, make: Callable[..., RunDir]) -> None:
        text = card_text(make())
        assert text.startswith("# Model card: pets, 3 classes\n")
        assert "private" not in text
        assert "2 cells of 4 channels at first, 1,234 parameters" in text
        assert "given to the training" in text
        assert "seed: 7" in section(text, "Data")
        assert "| all | 40 | 87.50% |\n\nNot counted by class." in section(text, "Accuracy")
        assert "Not measured yet" in section(text, "Latency")
        assert "mean 0.5, 0.25, 0.333333 and std 0.25, 1, 0.666667" in section(text, "Input")
        assert "(int8)" not in text

    def test_of_an_int8_export(self, make: Callable[..., RunDir]) -> None:
        run = make()
        export = {**REPORT.to_dict(), "int8": INT8.to_dict()}
        write_json(
            run.path / "export.json", {**export, "per_class": [asdict(count) for count in COUNTS]}
        )
        text = card_text(run)
        assert "Recommended for the machine of the export: int8." in text
        rows = section(text, "Accuracy").strip().splitlines()[2:]
        assert rows == [
            "| class | images | fp32 | int8 |",
            "| --- | --- | --- | --- |",
            "| all | 40 | 87.50% | 85.00% |",
            "| cat | 20 | 95.0% | 90.0% |",
            "| d\\|g | 20 | 80.0% | 80.0% |",
            '| the "bird" | 0 |  |  |',
            "",
            "On so few images an accuracy says little: that of fp32 over all classes is 74% to "
            "95%, with 95% confidence.",
        ]
        assert "1 thread, one image: fp32 p50 0.750 ms" in section(text, "Latency")
        assert "without VNNI" in section(text, "Use and limits")
        assert 'InferenceSession("model.int8.onnx")' in text
        narrow = replace(INT8, weight_limit=63, recommended="fp32", reasons=("it is slow",))
        write_json(run.path / "export.json", {**export, "int8": narrow.to_dict()})
        text = card_text(run)
        assert "Recommended for the machine of the export: fp32 (it is slow)." in text
        assert "without VNNI" not in text
        assert 'InferenceSession("model.onnx")' in text

    def test_of_a_searched_cell_and_a_measured_latency(self, make: Callable[..., RunDir]) -> None:
        run = make()
        search = {"strategy": "darts", "task": "semantic"}
        write_json(run.config, {**read_json(run.config), "search": search})
        write_json(run.path / "bench.json", BENCH)
        text = card_text(run)
        assert "found by a search in the same run (strategy darts, task semantic)" in text
        assert (
            "- `model.onnx` on Raspberry Pi 4 Model B, 4 threads, batch 1, ONNX Runtime 1.31.1: "
            "p50 1.500 ms, p95 1.750 ms, p99 2.250 ms over 1,500 runs; not settled"
        ) in section(text, "Latency")

    def test_memory_is_that_of_the_files(self, make: Callable[..., RunDir]) -> None:
        run = make()
        size = section(card_text(run), "Size and memory")
        assert f"| `model.onnx` | fp32 | {run.onnx.stat().st_size:,} bytes |" in size

    def test_right_predictions_are_counted_by_class(self) -> None:
        labels, fp32 = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
        expected = [("cat", 2, 2), ("dog", 2, 1), ("cow", 0, 0)]
        counts = count_by_class(("cat", "dog", "cow"), labels, fp32)
        assert [(c.name, c.images, c.fp32_correct) for c in counts] == expected
        assert {count.int8_correct for count in counts} == {None}
        counts = count_by_class(("cat", "dog"), labels, fp32, int8=labels)
        assert [count.int8_correct for count in counts] == [2, 2]

    def test_is_written_beside_the_model(self, make: Callable[..., RunDir]) -> None:
        run = make()
        path = write_card(run)
        assert path == run.card
        assert path.read_text() == card_text(run)


class TestRefusals:
    def test_a_run_without_an_export(self, make: Callable[..., RunDir]) -> None:
        run = make()
        (run.path / "export.json").unlink()
        with pytest.raises(RunError, match=r"export\.json is not there yet; make it with `sdedge"):
            write_card(run)

    def test_an_export_without_its_figures(self, make: Callable[..., RunDir]) -> None:
        run = make()
        write_json(run.path / "export.json", {"images": 40})
        with pytest.raises(RunError, match="parameters is missing; make it again"):
            write_card(run)
        assert not run.card.exists()

    def test_a_measurement_without_its_figures(self, make: Callable[..., RunDir]) -> None:
        run = make()
        write_json(run.path / "bench.json", {"model": "model.onnx"})
        with pytest.raises(RunError, match=r"bench\.json: cpu_model is missing; make it again"):
            write_card(run)

    @pytest.mark.parametrize("data", [b"", b"not a model"])
    def test_a_model_of_somebody_else(self, make: Callable[..., RunDir], data: bytes) -> None:
        run = make()
        run.onnx.write_bytes(data)
        with pytest.raises(ExportError, match=r"model\.onnx is cut short or"):
            write_card(run)


class TestExport:
    @pytest.fixture
    def run(self, make: Callable[..., RunDir]) -> RunDir:
        """That has a card."""
        run = make()
        write_card(run)
        return run

    @pytest.fixture
    def artifacts(self, run: RunDir) -> list[Artifact]:
        """The files of the next export."""
        reports = (REPORT, INT8)
        return [
            replace(artifact, report=report)
            for artifact, report in zip(Artifact.of_run(run), reports, strict=True)
        ]

    def test_a_file_that_cannot_be_written_leaves_all_as_it_was(
        self, run: RunDir, artifacts: list[Artifact]
    ) -> None:
        run.onnx.unlink()
        (run.onnx / "in the way").mkdir(parents=True)
        before = {path: path.stat().st_mtime_ns for path in run.path.iterdir()}
        with pytest.raises(RunError, match=r"cannot write .*model\.onnx"):
            write_export(run, artifacts, COUNTS)
        assert {path: path.stat().st_mtime_ns for path in run.path.iterdir()} == before

    def test_a_second_file_that_cannot_leaves_all_as_it_was_too(
        self, run: RunDir, artifacts: list[Artifact]
    ) -> None:
        run.onnx_int8.unlink()
        run.onnx_int8.mkdir()
        before = {path: path.stat().st_mtime_ns for path in run.path.iterdir()}
        with pytest.raises(RunError, match=r"cannot write .*model\.int8\.onnx"):
            write_export(run, artifacts, COUNTS)
        assert {path: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def expected_answer(run: RunDir, pixels: np.ndarray, *, normalize: bool) -> tuple[str, float]:
    """Class and score for uint8 (16, 16, 3)."""
    x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None] / 255
    if not normalize:
        mean, std = torch.tensor([0.5, 0.25, 1 / 3]), torch.tensor([0.25, 1.0, 2 / 3])
        x = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    (scores,) = ort.InferenceSession(run.onnx).run(None, {"input": x.numpy()})[0]
    return CLASSES[scores.argmax()], scores.max()


def answer(printed: str) -> tuple[str, float]:
    name, _, score = printed.strip().rpartition(" ")
    return name, float(score)


@pytest.mark.parametrize("normalize", [False, True])
class TestSnippets:
    def test_python_answers_as_the_network_does(
        self, make: Callable[..., RunDir], normalize: bool
    ) -> None:
        run = make(normalize=normalize)
        noise = np.random.default_rng(0).integers(0, 256, (21, 40, 3), np.uint8)
        Image.fromarray(noise).save(run.path / "image.png")
        code = snippet(card_text(run), "python")
        assert len(code.splitlines()) == 10
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=run.path,
            capture_output=True,
            text=True,
            check=True,
        )
        pixels = decode_file(run.path / "image.png", 16)
        name, score = expected_answer(run, pixels, normalize=normalize)
        assert answer(done.stdout) == (name, pytest.approx(score, abs=1e-4))

    @pytest.mark.slow
    def test_cpp_answers_as_the_network_does(
        self, make: Callable[..., RunDir], normalize: bool
    ) -> None:
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("no g++ here")
        run = make(normalize=normalize)
        source = run.path / "run.cpp"
        source.write_text(snippet(card_text(run), "cpp"))
        assert source.read_text() == cpp_snippet(read_metadata(run.onnx), "model.onnx")
        header = "#include <onnxruntime_cxx_api.h>"
        check = [compiler, "-std=c++17", "-Wall", "-Wextra", "-fsyntax-only", "-x", "c++"]
        if subprocess.run([*check, "-"], input=header, text=True, capture_output=True).returncode:
            pytest.skip(
                "no onnxruntime_cxx_api.h here; it is in Debian's libonnxruntime-dev, and g++ "
                "finds it elsewhere by CPLUS_INCLUDE_PATH"
            )
        checked = subprocess.run([*check, source], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "run.cpp" not in checked.stderr  # no warning of ours
        libraries = [*Path(ort.__file__).parent.glob("capi/libonnxruntime.so.*")]
        if not libraries:
            pytest.skip("the syntax is right; this onnxruntime has no library to link with")
        program = run.path / "program"
        subprocess.run([compiler, source, libraries[0], "-o", program], check=True)
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        (run.path / "image.rgb").write_bytes(pixels.tobytes())
        (run.path / "libonnxruntime.so.1").symlink_to(libraries[0])  # the name it is known by
        environment = {**os.environ, "LD_LIBRARY_PATH": str(run.path)}
        done = subprocess.run(
            [program], cwd=run.path, env=environment, capture_output=True, text=True, check=True
        )
        name, score = expected_answer(run, pixels, normalize=normalize)
        assert answer(done.stdout) == (name, pytest.approx(score, abs=1e-4))


def test_metadata_are_those_of_the_export(make: Callable[..., RunDir]) -> None:
    metadata = read_metadata(make().onnx)
    assert metadata.classes == CLASSES
    assert metadata.image_size == 16
    assert metadata.mean == (0.5, 0.25, 1 / 3)
    assert json.dumps(metadata.genotype) == json.dumps(published()["DARTS_V2"].genotype.to_dict())
