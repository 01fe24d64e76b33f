"""sdedge bench: predictions by target, beside measurements, and scores of MLPerf Tiny."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from typer.testing import CliRunner, Result

from factories.exports import to_onnx
from factories.networks import describe
from sdedge.cli.main import app
from sdedge.cli.render.checks import margin_text
from sdedge.deploy.fit.check import Check
from sdedge.deploy.fit.mlperf import CLASSES
from sdedge.deploy.ir.program import INPUT
from sdedge.deploy.latency import profiler
from sdedge.deploy.targets.target import list_targets, load_target, save_target
from sdedge.errors import BenchError
from sdedge.files import write_json
from sdedge.run import RunDir

FAST = ("--no-profile", "--threads", "1")


class _Noise(CalibrationDataReader):
    def __init__(self) -> None:
        images = np.random.default_rng(0).standard_normal((4, 1, 3, 16, 16)).astype(np.float32)
        self._left: Iterator[Any] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both ONNX files, as far as bench reads it; the network is not trained."""
    run = RunDir(tmp_path_factory.mktemp("exported"))
    description = describe("DARTS_V2", cells=2, classes=tuple(sorted(CLASSES)))
    onnx.save(to_onnx(description.build().eval(), description, normalize=False), run.onnx)
    quantize_static(run.onnx, run.onnx_int8, _Noise())
    write_json(run.config, {"train": {"dataset": "photos"}})
    accuracy = {"onnx_accuracy": 0.8, "images": 500}
    write_json(run.path / "export.json", {**accuracy, "int8": accuracy})
    return run.path


@pytest.fixture
def run(
    exported: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
    save_target(replace(load_target("pi4"), name="host", threads=1))
    short = {"warmup_seconds": 0, "min_runs": 5, "min_seconds": 0, "max_seconds": 0.2}
    monkeypatch.setattr(profiler, "run_bench", partial(profiler.run_bench, **short))
    return Path(shutil.copytree(exported, tmp_path / "run"))


def sdedge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: str | Path) -> dict[str, Any]:
    result = sdedge(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def complaint(*arguments: str | Path) -> str:
    result = sdedge(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_target_is_predicted_and_nothing_measured(run: Path) -> None:
    value = told("bench", "--run", run, "--target", "pi4", "--max-params", "10")
    assert "latency_p50_ms" not in value
    assert [row["precision"] for row in value["targets"]] == ["fp32", "int8"]
    for row in value["targets"]:
        prediction = row["prediction"]
        assert 0 < prediction["low_ms"] <= prediction["latency_ms"] <= prediction["high_ms"]
        assert (row["target"], row["if_quantised"], row["fits"]) == ("pi4", False, False)
        assert row["model"] == str(
            run / ("model.onnx" if row["precision"] == "fp32" else "model.int8.onnx")
        )
    kept = json.loads((run / "targets.json").read_text())
    assert kept == {key: value[key] for key in ("limits", "confidence", "targets")}
    assert kept["limits"] == {"max_params": 10}


def test_all_targets_have_a_row_for_each_precision_they_run(run: Path) -> None:
    (run / "model.int8.onnx").unlink()
    rows = told("bench", "--run", run, "--all-targets")["targets"]
    expected = {(t.name, precision) for t in list_targets() for precision in t.precisions}
    assert {(row["target"], row["precision"]) for row in rows} == expected
    assert all(row["if_quantised"] == (row["precision"] == "int8") for row in rows)


def test_tables_fit_a_hundred_columns_and_say_what_they_assume(run: Path) -> None:
    for which in (("--all-targets",), ("--target", "pi4")):
        result = sdedge("bench", "--run", run, *which, "--max-params", "10")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 100
        text = " ".join(" ".join(lines).split())
        for needed in ("pi4", "no: parameters", "MLPerf Tiny", "not an official result", "photos"):
            assert needed in text, needed


def test_precision_chooses_one(run: Path) -> None:
    for given in (("--precision", "int8"), ("--int8",)):
        rows = told("bench", "--run", run, "--target", "pi4", *given)["targets"]
        assert [row["precision"] for row in rows] == ["int8"]


def test_measured_on_this_machine_beside_its_prediction(run: Path) -> None:
    value = told("bench", "--run", run, "--target", "host", "--device", "cpu", "--no-profile")
    row = value["targets"][0]
    assert row["measured_p50_ms"] == value["latency_p50_ms"]
    assert isinstance(row["measured_within_interval"], bool)
    later = told("bench", "--run", run, "--target", "host")
    assert later["targets"][0]["measured_p50_ms"] == value["latency_p50_ms"]
    assert later["targets"][1]["measured_p50_ms"] is None
    shown = sdedge("bench", "--run", run, "--target", "host").stdout
    assert "measured p50" in shown


def test_only_the_threads_of_this_machine_are_taken_for_a_measurement(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def bench(model: Path, *, threads: int | None, **_: Any) -> Any:
        asked.append(threads)
        raise BenchError("measured enough")

    monkeypatch.setattr(profiler, "run_bench", bench)
    save_target(replace(load_target("host"), threads=3))
    assert load_target("pi4").threads == 4
    for which in (("--target", "pi4"), ("--target", "host"), ("--all-targets",)):
        complaint("bench", "--run", run, "--device", "cpu", *which)
    complaint("bench", "--run", run, "--device", "cpu", "--target", "host", "--threads", "1")
    assert asked == [None, 3, 3, 1]


def test_the_quantised_file_is_measured_and_kept_apart(run: Path) -> None:
    value = told("bench", "--run", run, "--int8", *FAST)
    assert value["model"] == "model.int8.onnx"
    assert json.loads((run / "bench.int8.json").read_text())["model"] == "model.int8.onnx"
    assert not (run / "bench.json").exists()


def test_scores_of_mlperf_tiny(run: Path) -> None:
    fp32, int8 = told("bench", "--run", run, "--target", "pi4")["mlperf_tiny"]
    assert (fp32["precision"], int8["precision"]) == ("fp32", "int8")
    assert int8["file_size_bytes"] == (run / "model.int8.onnx").stat().st_size
    assert int8["comparisons"][0] == {
        "benchmark": "Image Classification",
        "reference_accuracy": 0.85,
        "reference_file_size_bytes": 98_496,
        "accurate": False,
        "small": int8["file_size_bytes"] <= 98_496,
    }


def test_unsettled_figures_are_told_with_their_tail(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = profiler.run_bench

    def disturbed(*arguments: Any, **settings: Any) -> Any:
        return replace(
            quick(*arguments, **settings), settled=False, latency_p50_ms=0.5, latency_p99_ms=20.0
        )

    monkeypatch.setattr(profiler, "run_bench", disturbed)
    shown = " ".join(sdedge("bench", "--run", run, *FAST).stdout.split())
    assert "The figures are unsettled (p99 is 40.0 times p50)" in shown


def test_an_unknown_target_is_told_before_a_model_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no target 'nowhere'" in complaint("bench", "--target", "nowhere")
    assert "no run directory below" in complaint("bench", "--target", "pi4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "nowhere"], "pi4"),
        (["--target", "pi4", "--all-targets"], "--target pi4 and --all-targets exclude each"),
        (["--max-ram-kb", "64"], "add --target or --all-targets"),
        (["--partial"], "add --target or --all-targets"),
        (["--target", "pi4", "--max-latency-ms", "0"], "--max-latency-ms is 0.0"),
        (["--target", "pi4", "--max-flash-kb", "-1"], "--max-flash-kb is -1.0"),
        (["--all-targets", "--max-ram-kb", "nan"], "--max-ram-kb is nan"),
        (["--target", "pi4", "--max-params", "0"], "--max-params is 0"),
        (["--target", "pi4", "--batch", "4"], "add --device cpu"),
        (["--target", "pi4", "--device", "cpu", "--batch", "0"], "batch must be at least 1, not 0"),
        (["--threads", "0"], "threads must be at least 1, not 0"),
        (["--shape", "3,32"], "--shape '3,32' is not three numbers"),
        (["--shape", "3,32,²"], "--shape '3,32,²' is not three numbers"),
        (["--shape", "3,0,32"], "is not between 1 and 65,536"),
        (["--target", "pi4", "--precision", "fp16"], "precision is 'fp16'; choose from fp32, int8"),
        (["--int8", "--precision", "fp32"], "exclude each other"),
        (["--device", "tpu", "--target", "pi4"], "choose from cpu"),
        (["--target", "pi4", "--partial", "--max-latency-ms", "9"], "needs no --partial"),
    ],
)
def test_bad_options_change_nothing(run: Path, arguments: list[str], message: str) -> None:
    before = contents(run)
    assert message in complaint("bench", "--run", run, *arguments)
    assert contents(run) == before


def test_int8_that_is_not_there_says_how_to_make_it(run: Path) -> None:
    (run / "model.int8.onnx").unlink()
    assert f"sdedge export --int8 --run {run}" in complaint("bench", "--run", run, "--int8")


@pytest.mark.parametrize("which", [("--target", "pi4"), ("--all-targets",), ()])
@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_truncated_model_is_named_and_nothing_overwritten(
    run: Path, name: str, which: tuple[str, ...]
) -> None:
    file = run / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for kept in ("targets.json", "bench.json", "bench.int8.json"):
        (run / kept).write_text("{}")
    before = contents(run)
    measured = ("--int8",) if name == "model.int8.onnx" and not which else ()
    assert name in complaint("bench", "--run", run, *which, *measured)
    assert contents(run) == before


def test_a_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "image-to-image.onnx"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), model)
    message = complaint("bench", "--model", model, "--all-targets")
    assert "image-to-image.onnx is not an image classifier" in message


def test_operators_that_nobody_knows_are_counted_and_left_out_on_request(
    run: Path, tmp_path: Path
) -> None:
    network = onnx.shape_inference.infer_shapes(onnx.load(run / "model.onnx"))  # and store them
    network.opset_import.append(helper.make_opsetid("com.example", 1))
    for node in [node for node in network.graph.node if node.op_type == "Relu"][:2]:
        node.op_type, node.domain = "Strange", "com.example"
    model = tmp_path / "strange.onnx"
    onnx.save(network, model)
    message = complaint("bench", "--model", model, "--target", "pi4")
    assert "2 com.example.Strange" in message
    assert "--partial" in message
    row = told("bench", "--model", model, "--target", "pi4", "--partial")["targets"][0]
    assert row["unknown_operators"] == {"com.example.Strange": 2}
    assert row["prediction"]["partial"] is True
    shown = sdedge("bench", "--model", model, "--all-targets", "--partial").stdout
    assert "Partial: the predictor does not know 2 com.example.Strange" in shown


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (5.0, "fits, 5.00 ms to spare"),
        (9.0, "fits, 1.00 ms to spare; at worst 11.7 ms"),
        (12.0, "does not fit, 2.00 ms too much; at best 9.60 ms"),
        (20.0, "does not fit, 10.0 ms too much"),
    ],
)
def test_a_verdict_says_by_how_much_and_how_sure(found: float, text: str) -> None:
    interval = {"low": found * 0.8, "high": found * 1.3}
    check = Check(limit="max_latency_ms", allowed=10.0, found=found, unit="ms", **interval)
    assert margin_text(check) == text


def test_a_damaged_profile_is_named(run: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine.json"
    profile.write_text('{"name": "mine", "ram_bytes": -1}')
    assert "mine.json" in complaint("bench", "--run", run, "--target", profile)


def test_a_model_of_ones_own_is_predicted_and_leaves_no_file(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    shutil.copy(run / "model.int8.onnx", model)
    rows = told("bench", "--model", model, "--target", "pi4")["targets"]
    assert [(row["precision"], row["if_quantised"]) for row in rows] == [("int8", False)]
    assert {path.name for path in tmp_path.iterdir()} == {"run", "own.onnx"}
    message = complaint("bench", "--model", model, "--target", "pi4", "--precision", "fp32")
    assert "own.onnx is int8 already" in message
    assert "--model" in complaint("bench", "--model", model, "--precision", "fp32")


def test_ram_is_told_in_the_order_of_a_file_too(run: Path) -> None:
    """What another tool wrote may hold its operators in a worse order; sdedge's own does not."""
    rows = told("bench", "--run", run, "--target", "pi4")["targets"]
    own, other = (row for row in rows if row["target"] == "pi4")
    assert own["file_order_ram_bytes"] == own["ram_bytes"]
    assert other["file_order_ram_bytes"] > other["ram_bytes"]
    shown = sdedge("bench", "--run", run, "--target", "pi4").stdout
    assert "RAM in the file's order" in shown
    assert "in the order of the file" in shown
    shown = sdedge("bench", "--run", run, "--target", "pi4", "--precision", "fp32").stdout
    assert "order of the file" not in shown
