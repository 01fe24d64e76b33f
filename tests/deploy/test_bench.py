"""bench.py: what it accepts, measures and refuses, and that it stands alone."""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdedge.deploy.latency import bench as bench_module
from sdedge.deploy.latency.bench import (
    ModelError,
    bench,
    cpu_model,
    latency,
    settled,
    summarise_profile,
    time_runs,
)

QUICK: dict[str, Any] = {
    "threads": 1,
    "warmup_seconds": 0,
    "min_runs": 5,
    "min_seconds": 0,
    "max_seconds": 1,
}
Shape = list[int | str | None] | None


def constant(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return numpy_helper.from_array(values, name)


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, Shape]],
    opset: int = 17,
    **save: Any,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [constant("filters", 5, 3, 3, 3), constant("weights", 5, 10)],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("acme", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path, **save)
    return path


def classifier_nodes(image: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", [image, "filters"], ["features"], "conv"),
        helper.make_node("Relu", ["features"], ["active"], "relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"], "gemm"),
    ]


def classifier(
    path: Path,
    shape: Shape,
    dtype: int = TensorProto.FLOAT,
    channels_last: bool = False,
    **save: Any,
) -> Path:
    """Conv, ReLU, pool, Gemm; before them what turns the image into float32 NCHW."""
    nodes = [helper.make_node("Cast", ["picture"], ["float"], "cast", to=TensorProto.FLOAT)]
    if channels_last:
        nodes.append(
            helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2])
        )
    nodes += classifier_nodes("planes" if channels_last else "float")
    return write(path, nodes, [("picture", dtype, shape)], **save)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return classifier(tmp_path / "model.onnx", ["N", 3, 8, 8])


@pytest.mark.parametrize(
    ("shape", "dtype", "channels_last", "numpy_name"),
    [
        (["N", 3, 8, 8], TensorProto.FLOAT, False, "float32"),
        ([None, 3, 8, 8], TensorProto.FLOAT16, False, "float16"),
        ([2, 3, 8, 8], TensorProto.DOUBLE, False, "float64"),
        (["N", 8, 8, 3], TensorProto.UINT8, True, "uint8"),
        ([2, 8, 8, 3], TensorProto.INT8, True, "int8"),
    ],
)
def test_takes_any_image_type_and_layout(
    tmp_path: Path, shape: list[Any], dtype: int, channels_last: bool, numpy_name: str
) -> None:
    path = classifier(tmp_path / "m.onnx", shape, dtype, channels_last)
    result = bench(path, batch=2, profile=False, **QUICK)
    assert result["input_name"] == "picture"
    assert result["input_type"] == numpy_name
    assert result["input_shape"] == [2, *shape[1:]]
    assert result["output_name"] == "scores"
    assert result["output_shape"] == [2, 10]


@pytest.mark.parametrize("shape", [["N", 3, "H", "W"], [None] * 4, None])
def test_open_dimensions_are_given_by_shape(tmp_path: Path, shape: Shape) -> None:
    path = classifier(tmp_path / "m.onnx", shape)
    with pytest.raises(ModelError, match=r"'picture' of .*m\.onnx .* open: .*--shape 3,32,32"):
        bench(path, **QUICK)
    assert bench(path, shape=(3, 6, 9), profile=False, **QUICK)["input_shape"] == [1, 3, 6, 9]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8), (1, 3, 8, 8)])
def test_shape_that_contradicts_the_model_is_refused(model: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=f"--shape {','.join(map(str, shape))} contradicts"):
        bench(model, shape=shape, **QUICK)


def test_fixed_batch_is_named(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx", [4, 3, 8, 8])
    with pytest.raises(ModelError, match=r"fixed at 4, not 1: use --batch 4, or export"):
        bench(path, **QUICK)


def test_input_that_is_not_four_dimensional_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [helper.make_node("Gemm", ["flat", "weights"], ["scores"])],
        [("flat", TensorProto.FLOAT, ["N", 5])],
    )
    with pytest.raises(ModelError, match=r"shape \['N', 5\]; .* 4 dimensions"):
        bench(path, **QUICK)


def test_two_required_inputs_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["left", "right"], ["sum"]), *classifier_nodes("sum")]
    image: Shape = ["N", 3, 8, 8]
    both = [("left", TensorProto.FLOAT, image), ("right", TensorProto.FLOAT, image)]
    with pytest.raises(ModelError, match=r"needs 2 inputs \('left', 'right'\)"):
        bench(write(tmp_path / "m.onnx", nodes, both), **QUICK)


def test_input_with_a_default_is_not_required(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        classifier_nodes("picture"),
        [
            ("picture", TensorProto.FLOAT, ["N", 3, 8, 8]),
            ("filters", TensorProto.FLOAT, [5, 3, 3, 3]),
        ],
    )
    assert bench(path, profile=False, **QUICK)["input_name"] == "picture"


@pytest.mark.parametrize("dtype", [TensorProto.STRING, TensorProto.BOOL])
def test_input_that_is_no_image_is_refused(tmp_path: Path, dtype: int) -> None:
    path = write(
        tmp_path / "m.onnx",
        [helper.make_node("Cast", ["picture"], ["scores"], to=TensorProto.FLOAT)],
        [("picture", dtype, ["N", 3, 8, 8])],
    )
    with pytest.raises(ModelError, match=r"'picture' of .* is a tensor\((string|bool)\)"):
        bench(path, **QUICK)


def test_shape_the_graph_cannot_run_is_told(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx", ["N", 3, "H", "W"])
    with pytest.raises(ModelError, match=r"does not run on an input of shape \[1, 3, 2, 2\]: "):
        bench(path, shape=(3, 2, 2), **QUICK)


@pytest.mark.parametrize(
    "setting",
    [
        {"batch": 65_537},
        {"threads": 100_000},
        {"min_runs": 10**9},
        {"shape": (3, 65_537, 8)},
        {"max_seconds": float("inf")},
    ],
)
def test_setting_without_reason_is_refused(model: Path, setting: dict[str, Any]) -> None:
    name = next(iter(setting)).replace("_", "-")
    with pytest.raises(ModelError, match=f"^{name} must be at most .*, not "):
        bench(model, **{**QUICK, **setting})


def test_images_beyond_the_memory_are_refused_before_they_are_made(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "available_memory_bytes", lambda: 2**20)
    monkeypatch.setattr(bench_module, "random_image", None)
    with pytest.raises(ModelError, match=r"run of 4096 images .* GiB of memory, and this machine"):
        bench(model, batch=4096, **QUICK)


def test_images_are_refused_by_what_a_few_of_them_took(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter([0, 0, 2**30])
    monkeypatch.setattr(bench_module, "PROBE_BYTES", 4 * 3 * 8 * 8)
    monkeypatch.setattr(bench_module, "peak_memory_bytes", lambda: next(taken))
    monkeypatch.setattr(bench_module, "available_memory_bytes", lambda: 2**32)
    with pytest.raises(ModelError, match=r"run of 8 images .* take 8\.0 GiB"):
        bench(model, batch=8, **QUICK)


@pytest.mark.parametrize(
    ("setting", "least"),
    [
        ({"batch": 0}, 1),
        ({"threads": 0}, 1),
        ({"min_runs": -1}, 1),
        ({"shape": (3, 0, 8)}, 1),
        ({"warmup_seconds": -1.0}, 0),
        ({"max_seconds": float("nan")}, 0),
    ],
)
def test_setting_out_of_range_is_named(model: Path, setting: dict[str, Any], least: int) -> None:
    name = next(iter(setting)).replace("_", "-")
    with pytest.raises(ModelError, match=f"^{name} must be at least {least}, not "):
        bench(model, **{**QUICK, **setting})


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match=f"no model file to read at {path}"):
            bench(path, **QUICK)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: b"", lambda _: b"hello" * 9])
def test_damaged_file_is_refused(model: Path, damage: Callable[[bytes], bytes]) -> None:
    model.write_bytes(damage(model.read_bytes()))
    with pytest.raises(ModelError, match=r"model\.onnx \(\d+ bytes\) is not an ONNX file or is"):
        bench(model, **QUICK)


@pytest.mark.parametrize(
    ("node", "opset", "reason"),
    [
        (helper.make_node("Relu", ["picture"], ["scores"]), 99, "pset 99"),
        (helper.make_node("Nope", ["picture"], ["scores"]), 17, "Nope"),
        (helper.make_node("Nope", ["picture"], ["scores"], domain="acme"), 17, "acme:Nope"),
    ],
)
def test_unsupported_opset_and_operator_are_told(
    tmp_path: Path, node: onnx.NodeProto, opset: int, reason: str
) -> None:
    path = write(
        tmp_path / "m.onnx", [node], [("picture", TensorProto.FLOAT, ["N", 3, 8, 8])], opset
    )
    with pytest.raises(ModelError, match=rf"cannot load .*m\.onnx: .*{reason}.*newer") as caught:
        bench(path, **QUICK)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert ".h:" not in str(caught.value)


def test_external_weights_count_and_are_missed(tmp_path: Path) -> None:
    path = classifier(
        tmp_path / "m.onnx",
        ["N", 3, 8, 8],
        save_as_external_data=True,
        location="m.weights",
        size_threshold=0,
    )
    weights = tmp_path / "m.weights"
    size = path.stat().st_size + weights.stat().st_size
    assert bench(path, profile=False, **QUICK)["model_size_bytes"] == size
    weights.write_bytes(b"short")
    with pytest.raises(ModelError, match=r"copy m\.weights again"):
        bench(path, **QUICK)
    weights.unlink()
    with pytest.raises(ModelError, match=r"missing beside it: m\.weights$"):
        bench(path, **QUICK)


def test_profile_counts_the_operators_of_the_optimised_graph(model: Path, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph

    profile = bench(model, **QUICK)["profile"]
    operators = profile["operators"]
    counted = {row["op_type"]: row["calls_per_run"] for row in operators}
    assert counted == Counter(node.op_type for node in graph.node)
    assert "Relu" not in counted, "the ReLU is fused into the convolution"
    assert sum(row["share"] for row in operators) == pytest.approx(1)
    assert sum(row["ms_per_run"] for row in operators) == pytest.approx(profile["ms_per_run"])
    assert {row["op_type"] for row in profile["top_nodes"]} == set(counted)
    costs = [row["ms_per_run"] for row in profile["top_nodes"]]
    assert costs == sorted(costs, reverse=True)


def test_profile_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    assert bench(model, **QUICK)["profile"] is not None
    assert list(scratch.iterdir()) == []


def run_events(start: int, duration: int, conv: int) -> list[dict[str, Any]]:
    """The events of one run: a convolution of `conv` us and a Gemm of 2 us."""
    return [
        {"name": "c_kernel_time", "ts": start + 1, "dur": conv, "args": {"op_name": "Conv"}},
        {"name": "g_kernel_time", "ts": start + 9, "dur": 2, "args": {"op_name": "Gemm"}},
        {"name": "model_run", "ts": start, "dur": duration, "args": {}},
    ]


def test_profile_leaves_out_warm_up_and_interrupted_runs() -> None:
    warm_up, calm, interrupted = (15, 5), (20, 6), (900, 700)
    starts = range(0, 5000, 1000)
    runs = (warm_up, calm, interrupted, calm, interrupted)
    events = [
        event
        for start, (length, conv) in zip(starts, runs, strict=True)
        for event in run_events(start, length, conv)
    ]
    profile = summarise_profile(events, runs=4)
    assert profile["runs"] == 2
    assert profile["operators"] == [
        {"op_type": "Conv", "calls_per_run": 1, "ms_per_run": 0.006, "share": 0.75},
        {"op_type": "Gemm", "calls_per_run": 1, "ms_per_run": 0.002, "share": 0.25},
    ]
    assert profile["top_nodes"][0] == {
        "name": "c",
        "op_type": "Conv",
        "ms_per_run": 0.006,
        "share": 0.75,
    }


class Workload:
    """A run whose duration is a function of its number, and the clock that shows it."""

    def __init__(self, milliseconds: Callable[[int], float]) -> None:
        self.milliseconds = milliseconds
        self.runs = 0
        self.now_ns = 0

    def __call__(self) -> None:
        self.now_ns += int(self.milliseconds(self.runs) * 1e6)
        self.runs += 1

    def clock_ns(self) -> int:
        return self.now_ns


@pytest.mark.parametrize(
    ("milliseconds", "runs", "stands"),
    [
        (lambda run: 10, 200, True),  # 2 s of equal runs
        (lambda run: 100, 50, True),  # slow runs: the least number takes longer than 2 s
        (lambda run: 10 if run % 10 else 40, 152, True),  # rare outliers leave the median alone
        (lambda run: 1000, 15, False),  # the time limit comes before the least number of runs
        (lambda run: 10 + run // 50, None, False),  # ever slower: a device that heats up
    ],
)
def test_stops_when_the_median_has_settled(
    milliseconds: Callable[[int], float], runs: int | None, stands: bool
) -> None:
    work = Workload(milliseconds)
    samples, is_settled = time_runs(work, 50, 2.0, 15.0, work.clock_ns)
    assert is_settled is stands
    assert len(samples) == work.runs
    assert runs is None or work.runs == runs
    assert stands or work.now_ns >= 15e9
    np.testing.assert_allclose(samples / 1e6, [milliseconds(run) for run in range(work.runs)])


def test_settled_asks_for_a_narrow_interval_and_no_drift() -> None:
    noise = np.random.default_rng(0).normal(1e6, 1e5, 10_000).astype(np.int64)
    assert settled(noise)
    wide = np.linspace(5e5, 15e5, 25).astype(np.int64)
    assert not settled(np.concatenate([wide, wide[::-1]])), "too few runs for the spread"
    assert not settled(np.sort(noise)), "the same runs, drifting"
    assert not settled(noise[:1])


@pytest.mark.parametrize(("slowest_ms", "is_settled"), [(40, True), (400, False)])
def test_a_long_tail_is_not_settled_though_the_median_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowest_ms: int, is_settled: bool
) -> None:
    samples = np.array([10_000_000] * 980 + [slowest_ms * 1_000_000] * 20)
    monkeypatch.setattr(bench_module, "time_runs", lambda *_: (samples, True))
    report = bench(classifier(tmp_path / "m.onnx", [1, 3, 8, 8]), **QUICK, profile=False)
    assert (report["latency_p50_ms"], report["settled"]) == (10, is_settled)


def test_latency_figures() -> None:
    figures = latency(np.arange(1, 102, dtype=np.int64) * 1_000_000, batch=4)
    assert figures["latency_min_ms"] == 1
    assert figures["latency_p50_ms"] == figures["latency_mean_ms"] == 51
    assert figures["latency_p95_ms"] == 96
    assert figures["latency_p99_ms"] == 100
    assert figures["latency_std_ms"] == pytest.approx(np.arange(1, 102).std())
    assert figures["throughput_images_per_s"] == pytest.approx(4 / 0.051)


@pytest.mark.parametrize(
    ("cpuinfo", "board", "name"),
    [
        (
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n"
            "model\t\t: 17\nmodel name\t: AMD EPYC\n",
            None,
            "AMD EPYC",
        ),
        (
            "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\n\n"
            "Hardware\t: BCM2711\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            None,
            "Raspberry Pi 4 Model B Rev 1.4",
        ),
        ("processor\t: 0\nHardware\t: Qualcomm SDW4100\n", None, "Qualcomm SDW4100"),
        (
            "processor\t: 0\nCPU part\t: 0xd42\n",
            "NVIDIA Jetson Orin Nano",
            "NVIDIA Jetson Orin Nano",
        ),
    ],
)
def test_cpu_model_names_the_chip_or_board(cpuinfo: str, board: str | None, name: str) -> None:
    assert cpu_model(cpuinfo, board) == name


def test_cpu_model_falls_back_on_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert cpu_model("", None) == "riscv64"


SCRIPT = Path(bench_module.__file__)


def test_imports_only_what_a_board_has() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else node_names(node))
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def node_names(node: ast.Import) -> list[str]:
    return [alias.name for alias in node.names]


def test_a_copy_works_alone(model: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    copy = board / SCRIPT.name
    copy.write_bytes(SCRIPT.read_bytes())
    probe = (
        "import runpy, sys\n"
        f"sys.argv = [{str(copy)!r}, *sys.argv[1:]]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'torch', 'sdedge', 'onnx'} & set(sys.modules)), file=sys.stderr)"
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", "-c", probe, *arguments]
        return subprocess.run(command, cwd=board, capture_output=True, text=True, check=False)

    quick = ("--min-runs=5", "--min-seconds=0", "--max-seconds=1", "--warmup-seconds=0")
    done = run(str(model), "--batch=3", "--shape=3,8,8", "--threads=1", *quick)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert json.loads(done.stdout)["input_shape"] == [3, 3, 8, 8]
    assert [path.name for path in board.iterdir()] == [SCRIPT.name]

    failed = run("none.onnx")
    assert failed.returncode == 1
    assert json.loads(failed.stdout) == {
        "error": "no model file to read at none.onnx: check the path"
    }


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), json.JSONDecodeError("cut short", "", 0)]
)
def test_a_full_folder_of_temporary_files_is_told(
    model: Path, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **_: object) -> str:
        raise failure

    image = np.zeros((1, 3, 8, 8), np.float32)
    session = bench_module.open_session(model, 1)
    monkeypatch.setattr(bench_module.Path, "read_text", fail)
    with pytest.raises(bench_module.ModelError, match="set TMPDIR to another folder"):
        bench_module.operator_profile(model, 1, {session.get_inputs()[0].name: image}, 0)
