"""The wrapper: a process of its own, and a result that survives JSON."""

import json
import platform
import resource
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.latency import bench, profiler
from sdedge.deploy.latency.profiler import Measurement, run_bench
from sdedge.errors import BenchError

QUICK: dict[str, Any] = {
    "warmup_seconds": 0,
    "min_runs": 5,
    "min_seconds": 0,
    "max_seconds": 1,
}


def pool_and_gemm(path: Path, classes: int) -> Path:
    weights = np.zeros((3, classes), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pool_and_gemm(tmp_path_factory.mktemp("model") / "model.onnx", classes=10)


@pytest.fixture(scope="module")
def result(model: Path) -> Measurement:
    return run_bench(model, batch=4, threads=1, **QUICK)


def test_every_field_is_there_and_consistent(model: Path, result: Measurement) -> None:
    assert result.model == "model.onnx"
    assert result.model_size_bytes == model.stat().st_size
    assert 0 < result.latency_min_ms <= result.latency_p50_ms
    assert result.latency_p50_ms <= result.latency_p95_ms <= result.latency_p99_ms
    assert result.latency_min_ms <= result.latency_mean_ms
    assert result.latency_std_ms >= 0
    assert result.throughput_images_per_s == pytest.approx(4000 / result.latency_mean_ms)
    assert result.runs >= 5
    assert result.load_time_ms > 0
    assert result.first_run_ms > 0
    assert result.baseline_memory_bytes > 0
    assert result.peak_memory_bytes == result.baseline_memory_bytes + result.model_memory_bytes
    assert (result.batch_size, result.threads) == (4, 1)
    assert (result.input_name, result.input_type) == ("image", "float32")
    assert (result.input_shape, result.output_shape) == ((4, 3, 8, 8), (4, 10))
    assert result.output_name == "scores"
    assert result.cpu_model
    assert 1 <= result.physical_cores <= result.logical_cores
    assert result.load_average_1min >= 0
    assert result.onnxruntime_version == ort.__version__
    assert result.numpy_version == np.__version__
    assert result.python_version == platform.python_version()
    assert result.profile is not None
    assert {row.op_type for row in result.profile.operators} >= {"GlobalAveragePool", "Gemm"}


def test_json_holds_every_field(result: Measurement) -> None:
    text = result.to_json()
    assert json.loads(text).keys() == {field.name for field in fields(Measurement)}
    assert Measurement.from_json(text) == result


def test_threads_default_to_the_physical_cores_and_profile_is_optional(model: Path) -> None:
    result = run_bench(model, profile=False, **QUICK)
    assert result.threads == result.physical_cores
    assert result.profile is None
    assert Measurement.from_json(result.to_json()) == result


def test_a_quota_limits_the_default_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "physical_cores", lambda: 8)
    for quota, threads in ((3, 3), (16, 8)):
        monkeypatch.setattr(profiler, "usable_cpus", lambda quota=quota: quota)
        assert profiler.default_threads() == threads


def test_memory_is_not_that_of_the_parent(model: Path) -> None:
    ballast = b"x" * (200 << 20)
    parent_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert parent_bytes > len(ballast)
    assert run_bench(model, profile=False, **QUICK).peak_memory_bytes < len(ballast)


def test_memory_of_the_model_grows_with_its_weights(tmp_path: Path, result: Measurement) -> None:
    classes = 2_000_000
    large = run_bench(
        pool_and_gemm(tmp_path / "large.onnx", classes), threads=1, profile=False, **QUICK
    )
    weights_bytes = 3 * classes * 4
    assert large.model_memory_bytes - result.model_memory_bytes > weights_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "^threads must be at least 1, not 0$"),
        ({"threads": 100_000}, r"^threads must be at most \d+, not 100000$"),
        ({"batch": 10**12}, "^batch must be at most 65536, not"),
        ({"shape": (1, 8, 8)}, r"model\.onnx .*--shape 1,8,8 contradicts"),
        ({"batch": "many"}, "exit code 2: .*--batch: invalid int value: 'many'"),
    ],
)
def test_failure_of_the_child_is_a_bench_error(
    model: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        run_bench(model, **QUICK, **arguments)


def test_a_model_that_never_ends_is_stopped(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go on"], ["go on too"]),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go on too", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "go", "image"], ["scores"], body=body)],
        "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array(2**62), "times"),
            numpy_helper.from_array(np.array(True), "go"),
        ],
    )
    file = tmp_path / "endless.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    with pytest.raises(BenchError, match=r"endless\.onnx was stopped: loading it, or one run"):
        run_bench(file, threads=1, give_up_seconds=1, profile=False, **QUICK)


def test_a_path_that_looks_like_a_flag_is_a_path() -> None:
    with pytest.raises(BenchError, match="no model file to read at -h"):
        run_bench(Path("-h"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "stopped by signal 9; if memory ran out"),
        ("import nowhere_to_be_found", "exit code 1: ModuleNotFoundError: .*nowhere_to_be_found"),
        ("raise SystemExit(3)", "exit code 3: no message"),
        ("print('{}')", r"profile of .*model\.onnx: model is missing"),
    ],
)
def test_crash_of_the_child_is_a_bench_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    path = tmp_path / "crash.py"
    path.write_text(script)
    monkeypatch.setattr(profiler, "BENCH_SCRIPT", path)
    with pytest.raises(BenchError, match=message):
        run_bench(model)


def test_modules_beside_the_script_hide_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    script = tmp_path / "bench.py"
    script.write_text(profiler.BENCH_SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(profiler, "BENCH_SCRIPT", script)
    assert run_bench(model, profile=False, **QUICK).model == model.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data.pop("runs"),
            "b.json: runs is missing; profile again",
        ),
        (
            lambda data: data.update(latency_p50_ms=None),
            "latency_p50_ms is None; it must be a number.*;",
        ),
        (lambda data: data.update(runs=True), "b.json: runs is True; it must be a whole number.*;"),
        (lambda data: data.update(input_shape="1,3"), "input_shape is '1,3'; it must be a list;"),
        (lambda data: data.update(cpu_governor=5), r"cpu_governor is 5; it must be text, or null;"),
        (lambda data: data["profile"].pop("runs"), r"profile\.runs is missing;"),
        (
            lambda data: data.update(profile=[1]),
            r"profile is \[1\]; it must be an object, or null",
        ),
    ],
)
def test_malformed_result_is_refused(
    result: Measurement, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    data = json.loads(result.to_json())
    change(data)
    with pytest.raises(BenchError, match=message):
        Measurement.from_json(json.dumps(data), source="b.json")


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(BenchError, match=r"b\.json is not valid JSON: .*; profile again"):
        Measurement.from_json("{", source="b.json")


def test_whole_numbers_are_read_as_floats(result: Measurement) -> None:
    data = {**asdict(result), "latency_p50_ms": 3}
    read = Measurement.from_dict(data)
    assert isinstance(read.latency_p50_ms, float)
