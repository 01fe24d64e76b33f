"""The bundle: what is in it, and what its program checks, measures and refuses on a board."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.board import bundle
from sdedge.deploy.board.bundle import (
    BOARD_SCRIPT,
    Samples,
    bundle_files,
    measure_host,
    precision,
    sample,
    write_bundle,
)
from sdedge.errors import BenchError, ExportError, RunError

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def model(*nodes: onnx.NodeProto, side: int = 4, **constants: Any) -> bytes:
    """An ONNX file whose nodes turn `image`, (N, 3, side, side), into `logits`."""
    values = (numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    shape = ["N", 3, side, side]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", None])],
        [*values],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()


def means(image: str = "image", **changed: int) -> bytes:
    """Three classes; the logit of each is the mean of its channel."""
    return model(
        helper.make_node("GlobalAveragePool", [image], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        **changed,
    )


def quantised() -> bytes:
    return model(
        helper.make_node("QuantizeLinear", ["image", "scale"], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", "scale"], ["steps"]),
        helper.make_node("GlobalAveragePool", ["steps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        scale=np.float32(0.1),
    )


def pictures(*colours: tuple[float, float, float], side: int = 4) -> NDArray[np.float32]:
    return np.tile(np.float32(colours)[:, :, None, None], (1, 1, side, side))


RED, GREEN, BLUE = (3.0, 1.0, 0.0), (0.0, 2.0, 1.0), (0.0, 0.5, 3.0)
MICRO = {"means.onnx": means(side=2)}


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """An unpacked bundle of an fp32 and an int8 model and one micro-benchmark."""
    models = {"model.onnx": means(), "model.int8.onnx": quantised()}
    path = write_bundle(
        tmp_path / "bundle.zip", models, pictures(RED, GREEN, BLUE, RED), micro=MICRO
    )
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    return tmp_path / bundle.FOLDER


def run(board: Path, *arguments: str, python: tuple[str, ...] = ()) -> Done:
    command = [sys.executable, *python, "board.py", "--threads=1", "--seconds=0", *arguments]
    return subprocess.run(command, cwd=board, capture_output=True, text=True, check=False)


def complaint(done: Done) -> str:
    """The one line on stderr of a run that failed."""
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


class TestContents:
    def test_same_contents_give_the_same_bytes(self, tmp_path: Path) -> None:
        images = pictures(RED, GREEN)
        paths = [
            write_bundle(tmp_path / name, {"model.onnx": means()}, images, micro=MICRO)
            for name in ("a.zip", "b.zip")
        ]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]
        with zipfile.ZipFile(paths[0]) as archive:
            assert archive.namelist() == [
                f"sdedge-bundle/{name}"
                for name in (
                    "README.txt",
                    "bench.py",
                    "board.py",
                    "manifest.json",
                    "micro/means.onnx",
                    "model.onnx",
                    "samples/model.npz",
                )
            ]
            assert {entry.date_time[0] for entry in archive.infolist()} == {1980}

    def test_expected_outputs_are_stored_without_pickle(self, board: Path) -> None:
        with np.load(board / "samples" / "model.npz", allow_pickle=False) as samples:
            assert samples["images"].shape == (4, 3, 4, 4)
            np.testing.assert_allclose(samples["logits"], [RED, GREEN, BLUE, RED], rtol=1e-6)

    def test_images_whose_class_hangs_on_rounding_come_last(self, tmp_path: Path) -> None:
        close = (1.0, 1.0 + 1e-6, 0.0)
        images = pictures(*(close if index % 2 else RED for index in range(40)))
        write_bundle(tmp_path / "b.zip", {"model.onnx": means()}, images, micro={})
        zipfile.ZipFile(tmp_path / "b.zip").extractall(tmp_path)
        with np.load(tmp_path / bundle.FOLDER / "samples/model.npz") as samples:
            np.testing.assert_array_equal(samples["logits"], [RED] * bundle.SAMPLES)

    def test_of_large_images_there_are_fewer(self, tmp_path: Path) -> None:
        images = pictures(*[RED] * 8, side=224)
        write_bundle(tmp_path / "b.zip", {"model.onnx": means(side=224)}, images, micro={})
        zipfile.ZipFile(tmp_path / "b.zip").extractall(tmp_path)
        with np.load(tmp_path / bundle.FOLDER / "samples/model.npz") as samples:
            assert len(samples["images"]) == 2

    def test_precision_is_that_of_the_nodes(self) -> None:
        assert [precision(means()), precision(quantised())] == ["fp32", "int8"]

    def test_a_model_of_other_images_is_refused(self, tmp_path: Path) -> None:
        models = {"model.onnx": means(), "model.int8.onnx": means(side=8)}
        with pytest.raises(ExportError, match=r"model\.int8\.onnx does not run on images of"):
            write_bundle(tmp_path / "b.zip", models, pictures(RED), micro={})
        assert not [*tmp_path.iterdir()]

    def test_a_truncated_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            ExportError, match=r"model\.onnx does not run on .*protobuf parsing failed"
        ):
            write_bundle(tmp_path / "b.zip", {"model.onnx": means()[:40]}, pictures(RED), micro={})

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match=r"file.b\.zip"):
            write_bundle(tmp_path / "file/b.zip", {"model.onnx": means()}, pictures(RED), micro={})


class TestOnTheBoard:
    def test_the_result_has_outputs_and_latency(self, board: Path) -> None:
        done = run(board)
        assert done.returncode == 0, done.stderr
        result = json.loads((board / "result.json").read_text())
        assert {key: result[key] for key in ("format", "emulated", "threads")} == {
            "format": 1,
            "emulated": False,
            "threads": 1,
        }
        assert {"cpu_model", "onnxruntime_version", "cpu_governor"} <= result["machine"].keys()
        assert [(row["file"], row["precision"]) for row in result["models"]] == [
            ("model.onnx", "fp32"),
            ("model.int8.onnx", "int8"),
        ]
        for row in result["models"]:
            assert row["outputs_match"] is True
            assert row["max_abs_difference"] <= row["tolerance"]
            assert row["differing_predictions"] == 0
        (micro,) = result["micro"]
        assert (micro["file"], micro["precision"]) == ("micro/means.onnx", "fp32")
        for row in (*result["models"], micro):
            assert 0 < row["latency_p50_ms"] <= row["latency_p95_ms"] <= row["latency_p99_ms"]
        assert "model.onnx: outputs match; over 4 images" in done.stdout
        assert "1 micro-benchmarks measured\nWrote result.json" in done.stdout

    def test_emulated_time_is_not_written(self, board: Path) -> None:
        done = run(board, "--emulated", "--out=other.json")
        assert done.returncode == 0, done.stderr
        text = (board / "other.json").read_text()
        assert json.loads(text)["emulated"] is True
        assert [row["outputs_match"] for row in json.loads(text)["models"]] == [True, True]
        assert "latency" not in text
        assert "p50" not in done.stdout
        assert "outputs were checked, nothing was timed" in done.stdout

    @pytest.mark.parametrize(
        ("wrong", "difference", "changed"),
        [
            ((RED, BLUE), 2.0, 1),  # of GREEN's logits
            ((RED, (0.0, 2.01, 1.0)), 0.01, 0),
            ((RED, (0.0, np.nan, 1.0)), None, 0),
        ],
    )
    def test_wrong_outputs_are_told_and_nothing_is_timed(
        self, tmp_path: Path, wrong: Any, difference: float | None, changed: int
    ) -> None:
        samples = Samples(pictures(RED, GREEN), np.float32(wrong), tolerance=0.001)
        unpack(bundle_files({"m.onnx": means()}, {"m.onnx": samples}, MICRO), tmp_path)
        done = run(tmp_path)
        assert done.returncode == 1
        assert "m.onnx: outputs DO NOT MATCH; over 2 images" in done.stdout
        text = (tmp_path / "result.json").read_text()
        assert "latency" not in text
        (row,) = json.loads(text)["models"]
        assert row["outputs_match"] is False
        found = row["max_abs_difference"]
        assert found is None if difference is None else found == pytest.approx(difference, rel=1e-3)
        assert row["differing_predictions"] == changed

    def test_another_class_is_wrong_however_close(self, tmp_path: Path) -> None:
        close = [(1.0, 1.0001, 0.0)]
        samples = Samples(pictures((1.0001, 1.0, 0.0)), np.float32(close), tolerance=0.1)
        unpack(bundle_files({"m.onnx": means()}, {"m.onnx": samples}, {}), tmp_path)
        done = run(tmp_path)
        assert done.returncode == 1
        assert "1 predictions differ" in done.stdout

    @pytest.mark.parametrize(
        "name", ["model.onnx", "bench.py", "samples/model.int8.npz", "micro/means.onnx"]
    )
    def test_a_damaged_file_is_named(self, board: Path, name: str) -> None:
        data = bytearray((board / name).read_bytes())
        data[-2] ^= 1
        (board / name).write_bytes(data)
        told = complaint(run(board))
        assert f"{name} is damaged" in told
        assert "again and unpack it" in told
        assert not (board / "result.json").exists()

    def test_a_missing_file_is_named(self, board: Path) -> None:
        (board / "model.onnx").unlink()
        assert "model.onnx cannot be read (No such file" in complaint(run(board))

    def test_a_damaged_manifest_is_named(self, board: Path) -> None:
        (board / "manifest.json").write_text('{"format": 1')
        assert "manifest.json cannot be read" in complaint(run(board))
        (board / "manifest.json").write_text('{"format": 2}')
        assert "manifest.json is not of format 1" in complaint(run(board))

    @pytest.mark.parametrize(
        "damage",
        [
            {"sha256": None},
            {"sha256": []},
            {"models": {}},
            {"models": []},
            {"models": [5]},
            {"micro": [{}]},
            {"micro": [{"file": "unknown.onnx", "precision": "fp32"}]},
        ],
        ids=str,
    )
    def test_a_manifest_of_other_types_is_damaged(
        self, board: Path, damage: dict[str, object]
    ) -> None:
        manifest = json.loads((board / "manifest.json").read_text())
        (board / "manifest.json").write_text(json.dumps({**manifest, **damage}))
        assert "manifest.json is damaged" in complaint(run(board))

    @pytest.mark.parametrize("field", ["file", "precision", "samples", "tolerance"])
    def test_a_model_without_a_field_is_damage(self, board: Path, field: str) -> None:
        manifest = json.loads((board / "manifest.json").read_text())
        del manifest["models"][0][field]
        (board / "manifest.json").write_text(json.dumps(manifest))
        assert "manifest.json is damaged" in complaint(run(board))

    def test_a_name_in_the_manifest_that_is_none_of_a_file_is_told(self, board: Path) -> None:
        manifest = json.loads((board / "manifest.json").read_text())
        manifest["sha256"]["a\0b"] = ""
        (board / "manifest.json").write_text(json.dumps(manifest))
        assert "cannot be read (embedded null byte)" in complaint(run(board))

    def test_a_manifest_nested_without_end_is_told(self, board: Path) -> None:
        (board / "manifest.json").write_text("[" * 100_000)
        assert "manifest.json cannot be read" in complaint(run(board))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_is_not_replaced_by_the_result(self, board: Path) -> None:
        os.mkfifo(board / "pipe")
        assert "choose another place with --out" in complaint(run(board, "--out=pipe"))
        assert (board / "pipe").is_fifo()

    def test_a_model_that_does_not_load_is_named(self, tmp_path: Path) -> None:
        unknown = model(helper.make_node("Hologram", ["image"], ["logits"], domain="acme"))
        samples = Samples(pictures(RED), np.float32([RED]), 1.0)
        unpack(bundle_files({"m.onnx": unknown}, {"m.onnx": samples}, {}), tmp_path)
        told = complaint(run(tmp_path))
        assert "m.onnx" in told
        assert "install a newer onnxruntime" in told

    def test_what_is_not_installed_is_named(self, board: Path) -> None:
        told = complaint(run(board, python=("-S",)))
        assert "No module named 'numpy'" in told
        assert "python3 -m pip install numpy onnxruntime" in told

    @pytest.mark.parametrize(
        ("argument", "told"),
        [
            ("--threads=0", "threads must be at least 1, not 0"),
            ("--seconds=nan", "seconds must be at least 0, not nan"),
            ("--out=none/r.json", "none/r.json: choose another place with --out"),
            ("--out=samples", "samples: choose another place with --out"),
        ],
    )
    def test_settings_are_checked_first(self, board: Path, argument: str, told: str) -> None:
        assert told in complaint(run(board, argument))


def test_the_program_needs_only_what_a_board_has() -> None:
    tree = ast.parse(BOARD_SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    # The last one is for the type checker alone.
    standard = set(sys.stdlib_module_names)
    assert {name for name in imported if name.partition(".")[0] not in standard} == {
        "numpy",
        "bench",
        "sdedge.deploy.latency",
    }


def test_a_result_that_cannot_be_written_leaves_nothing(
    program: ModuleType, tmp_path: Path
) -> None:
    taken = tmp_path / "taken" / "result.json"
    taken.mkdir(parents=True)
    with pytest.raises(program.BundleError, match=r"result\.json .*another place with --out"):
        program.write(taken, {})
    assert [*taken.parent.iterdir()] == [taken]


X86_CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\n"
ARM_CPUINFO = "processor\t: 0\nCPU implementer\t: 0x41\n"


@pytest.fixture
def program(board: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(board)
    for name in ("board", "bench"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("board")


@pytest.mark.parametrize(
    ("machine", "kernel", "cpuinfo", "emulated"),
    [
        ("aarch64", "aarch64", ARM_CPUINFO, False),
        ("armv7l", "aarch64", ARM_CPUINFO, False),  # a 32-bit system on a 64-bit kernel
        ("i686", "x86_64", X86_CPUINFO, False),
        ("x86_64", "x86_64", X86_CPUINFO, False),
        ("arm64", None, None, False),  # not Linux
        ("riscv64", "riscv64", "", False),
        ("aarch64", "x86_64", ARM_CPUINFO, True),
        ("x86_64", "aarch64", ARM_CPUINFO, True),
        ("aarch64", None, X86_CPUINFO, True),  # an old kernel and an old emulator
    ],
)
def test_an_emulated_processor_gives_itself_away(
    program: ModuleType, machine: str, kernel: str | None, cpuinfo: str | None, emulated: bool
) -> None:
    assert program.is_emulated(machine, kernel, cpuinfo) is emulated


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "saturates"),
    [
        ("x86_64", "flags\t: avx2 fma", True),
        ("x86_64", "flags\t: avx2 avx512_vnni", False),
        ("x86_64", "flags\t: avx2 avx_vnni", False),
        ("aarch64", ARM_CPUINFO, False),
    ],
)
def test_processors_whose_int8_sums_saturate(
    program: ModuleType, machine: str, cpuinfo: str, saturates: bool
) -> None:
    assert program.saturates(machine, cpuinfo) is saturates


class TestHost:
    def test_measures_models_of_any_size_as_a_board_does(self) -> None:
        models = {"a.onnx": means(side=6), "b.onnx": quantised()}
        result = measure_host(models, 1, micro=MICRO, seconds=0)
        assert result["emulated"] is False
        assert [row["file"] for row in result["models"]] == ["a.onnx", "b.onnx"]
        assert [row["file"] for row in result["micro"]] == ["micro/means.onnx"]
        assert all(row["latency_p50_ms"] > 0 for row in (*result["models"], *result["micro"]))

    def test_a_failure_is_told(self) -> None:
        with pytest.raises(BenchError, match=r"failed: Error: threads must be at least 1, not 0"):
            measure_host({"a.onnx": means()}, 0, micro={}, seconds=0)


def test_samples_are_run_one_by_one() -> None:
    fixed = onnx.load_from_string(means())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    samples = sample(fixed.SerializeToString(), pictures(RED, GREEN), "m.onnx")
    np.testing.assert_allclose(samples.logits, [RED, GREEN], rtol=1e-6)
    assert samples.tolerance == pytest.approx(3e-4)


@pytest.fixture
def emulation() -> ModuleType:
    file = ROOT / "benchmarks" / "emulated_board.py"
    spec = importlib.util.spec_from_file_location("emulated_board", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module


class TestEmulatedBoard:
    @pytest.mark.slow
    def test_outputs_on_arm_are_those_of_this_machine(
        self, emulation: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        if not emulation.ready():
            pytest.skip("no emulated board yet: python benchmarks/emulated_board.py BUNDLE.zip")
        models = {"model.onnx": means(), "model.int8.onnx": quantised()}
        path = write_bundle(tmp_path / "b.zip", models, pictures(RED, GREEN), micro={})
        assert emulation.main([str(path), "--cpu", "cortex-a72"]) == 0
        told = capfd.readouterr().out
        assert "emulated cortex-a72, as in the Raspberry Pi 4, aarch64" in told
        assert told.count("outputs match; over 2 images") == 2

    def test_a_machine_without_apt_is_told_so(
        self,
        emulation: ModuleType,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(emulation, "CACHE", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert emulation.main(["b.zip"]) == 1
        assert "dpkg is not on this machine" in capsys.readouterr().err

    def test_a_command_that_fails_is_told_with_its_words(self, emulation: ModuleType) -> None:
        with pytest.raises(emulation.MissingError, match=r"sh ended with exit code 3:\nno such"):
            emulation.command("sh", "-c", "echo no such package >&2; exit 3")
