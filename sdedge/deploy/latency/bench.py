"""Profile an ONNX image classifier on the CPU of this machine: latency, memory, operators.

    python bench.py model.onnx [--batch 1] [--threads 4] [--shape 3,32,32] [--no-profile]

Prints one JSON object on stdout: the figures, or {"error": "..."} with exit code 1.
The file works alone: copy it to a board that has Python 3.9, numpy and onnxruntime.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import math
import os
import platform
import re
import resource
import signal
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

TOLERANCE = 0.02  # p50 is settled when its interval and its drift are within this share of it
MAX_TAIL = 5.0  # p99 over p50: beyond it, other work interrupts the runs
PROFILE_WARMUP_RUNS = 3
PROFILE_RUNS = 20
PROFILE_SECONDS = 2.0
TOP_NODES = 10
GIVE_UP_SECONDS = 120.0  # for loading and the first run
THREADS_PER_CORE = 4
MAX_BATCH = 65_536
MAX_SIDE = 65_536
MAX_RUNS = 10_000_000
MAX_SECONDS = 86_400.0
PROBE_BYTES = 2**24  # of images that are run first, to see what more of them would take

INPUT_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}

# onnxruntime's own errors share no base class, and which there are depends on its version.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    MemoryError,
    UnicodeDecodeError,  # a name in the file
    *(e for e in vars(ort_state).values() if isinstance(e, type) and issubclass(e, Exception)),
)


class ModelError(Exception):
    """The model cannot be profiled; the message says why and the way out."""


def read_text(path: str) -> str | None:
    """The text of a small file of the system, or None where this machine does not have it."""
    try:
        return Path(path).read_text(errors="replace").strip(" \n\0")
    except OSError:
        return None


def physical_cores() -> int:
    """Physical cores this process may use; logical ones where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({read_text(topology.format(cpu)) or cpu for cpu in os.sched_getaffinity(0)})


def cpu_model(cpuinfo: str, board: str | None) -> str:
    """The board or chip, from the text of /proc/cpuinfo and of the device tree, if any.

    ARM boards name themselves under "Model" or "Hardware"; x86 names the chip under
    "model name", and its "model" is a bare number.
    """
    fields = dict(re.findall(r"^([^\t\n:]+?)[ \t]*: (.+)$", cpuinfo, re.MULTILINE))
    known = (board, fields.get("Model"), fields.get("model name"), fields.get("Hardware"))
    return next(filter(None, known), platform.processor() or platform.machine())


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    # Linux carries ru_maxrss over from the program that started this one; VmHWM starts afresh.
    own = re.search(r"^VmHWM:\s*(\d+) kB", read_text("/proc/self/status") or "", re.MULTILINE)
    if own:
        return int(own[1]) * 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes


def available_memory_bytes() -> int | None:
    """What a process may still take, by the system and by its container; None where none tells."""
    free = re.search(r"^MemAvailable:\s*(\d+) kB", read_text("/proc/meminfo") or "", re.MULTILINE)
    known = [int(free[1]) * 1024] if free else []
    limit, used = (read_text(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit.isdecimal() and used.isdecimal():
        known.append(max(0, int(limit) - int(used)))
    return min(known, default=None)


def limit_memory() -> None:
    """Have allocations fail beyond what the machine has, rather than another process be killed."""
    available = available_memory_bytes()
    taken = re.search(r"^VmData:\s*(\d+) kB", read_text("/proc/self/status") or "", re.MULTILINE)
    if available is not None and taken:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = available + int(taken[1]) * 1024
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def machine() -> dict[str, Any]:
    """What the figures depend on besides the model."""
    return {
        "cpu_model": cpu_model(
            read_text("/proc/cpuinfo") or "", read_text("/proc/device-tree/model")
        ),
        "cpu_governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "logical_cores": os.cpu_count() or 1,
        "physical_cores": physical_cores(),
        "load_average_1min": os.getloadavg()[0],
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "numpy_version": np.__version__,
        "onnxruntime_version": ort.__version__,
    }


def external_files(model: Path) -> list[Path]:
    """Files beside the model that hold its weights."""
    # An external tensor stores the pair ("location", name), length-prefixed, in protobuf's bytes.
    data = model.read_bytes()
    names = {
        data[pair.end() : pair.end() + pair[1][0]]
        for pair in re.finditer(rb"\x0a\x08location\x12(.)", data, re.DOTALL)
    }
    return [model.parent / os.fsdecode(name) for name in sorted(names)]


def size_bytes(model: Path) -> int:
    """Size of the model on disk, with its external weights."""
    files = (model, *external_files(model))
    return sum(path.stat().st_size for path in files if path.is_file())


def load_failure(model: Path, error: Exception) -> str:
    """Why onnxruntime refused the model, and what to do about it."""
    weights = external_files(model)
    missing = [path.name for path in weights if not path.is_file()]
    if missing:
        return f"{model} keeps weights in files that are missing beside it: {', '.join(missing)}"
    reason = error_text(error)
    no_model = ("Protobuf parsing failed", "No graph was found", "does not have a graph")
    if any(sign in reason for sign in no_model):
        return (
            f"{model} ({model.stat().st_size} bytes) is not an ONNX file or is truncated: "
            "copy or export it again"
        )
    copy = "".join(f"copy {path.name} again, " for path in weights)
    return (
        f"onnxruntime {ort.__version__} cannot load {model}: {reason} ({copy}export it with an "
        "opset and operators that this version has, or install a newer onnxruntime)"
    )


def error_text(error: Exception) -> str:
    """onnxruntime's message on one line, without its codes and places in the source."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ", " ", text)
    return " ".join(text.split())


def open_session(model: Path, threads: int, profile_prefix: str | None = None) -> Any:
    """An onnxruntime session of the model on the CPU, one operator after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise ModelError(load_failure(model, error)) from error


def only_input(model: Path, session: Any) -> Any:
    """The one input of the model that has no default."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(repr(node.name) for node in inputs) or "none"
        raise ModelError(
            f"{model} needs {len(inputs)} inputs ({names}); only models of one image input can "
            "be profiled: export the others as constants"
        )
    if inputs[0].type not in INPUT_TYPES:
        raise ModelError(
            f"input {inputs[0].name!r} of {model} is a {inputs[0].type}; an image is one of "
            f"{', '.join(INPUT_TYPES)}: export the model with one of these"
        )
    return inputs[0]


def input_shape(model: Path, node: Any, batch: int, image: tuple[int, ...] | None) -> list[int]:
    """The shape to run: the declared one, its free dimensions from `batch` and `image`.

    `image` holds the three dimensions after the batch, in the order of the model.
    """
    declared = node.shape or [None] * 4  # onnxruntime gives [] where the rank is not declared
    description = f"input {node.name!r} of {model} has shape {declared}"
    if len(declared) != 4:
        raise ModelError(
            f"{description}; an image classifier takes 4 dimensions, the batch first: export it so"
        )
    fixed = [isinstance(size, int) and size > 0 for size in declared]
    if fixed[0] and declared[0] != batch:
        raise ModelError(
            f"{description}, so its batch is fixed at {declared[0]}, not {batch}: "
            f"use --batch {declared[0]}, or export the model with a dynamic batch"
        )
    if image is None and not all(fixed[1:]):
        raise ModelError(
            f"{description}, which leaves the image's dimensions open: give those after the batch, "
            "in the model's order, as in --shape 3,32,32"
        )
    shape = [batch, *(declared[1:] if image is None else image)]
    if len(shape) != 4 or any(fixed[i] and declared[i] != shape[i] for i in range(4)):
        raise ModelError(
            f"{description}, which --shape {','.join(map(str, image or ()))} contradicts: "
            "--shape gives the three dimensions after the batch"
        )
    return shape


def random_image(shape: list[int], dtype: Any) -> Any:
    """The same noise at every call: normal for floats, the whole range for integers."""
    generator = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        return generator.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return generator.standard_normal(shape, np.float32).astype(dtype, copy=False)


def settled(samples_ns: npt.NDArray[np.int64]) -> bool:
    """Whether the median has settled, by its 95 % interval and between the halves of the runs."""
    count = len(samples_ns)
    if count < 2:
        return False
    ordered = np.sort(samples_ns)
    reach = 0.98 * math.sqrt(count)  # ranks of the interval: n/2 +- 1.96 sqrt(n)/2
    low = ordered[max(0, math.floor(count / 2 - reach))]
    high = ordered[min(count - 1, math.ceil(count / 2 + reach))]
    drift = abs(np.median(samples_ns[: count // 2]) - np.median(samples_ns[count // 2 :]))
    return bool(max((high - low) / 2, drift) <= TOLERANCE * np.median(ordered))


def undisturbed(samples_ns: npt.NDArray[np.int64]) -> bool:
    """Whether the tail is short: the slowest run in a hundred takes at most MAX_TAIL medians."""
    p50, p99 = np.percentile(samples_ns, (50, 99))
    return bool(p99 <= MAX_TAIL * p50)


def time_runs(
    run: Callable[[], object],
    min_runs: int,
    min_seconds: float,
    max_seconds: float,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> tuple[npt.NDArray[np.int64], bool]:
    """Time `run` until its median has settled or `max_seconds` are over.

    Returns the duration of each run in ns, and whether the median settled.
    """
    samples = array("q")
    next_check = min_runs
    start = clock_ns()
    while True:
        before = clock_ns()
        run()
        after = clock_ns()
        samples.append(after - before)
        elapsed = (after - start) / 1e9
        over = elapsed >= max_seconds
        if over or (len(samples) >= next_check and elapsed >= min_seconds):
            times = np.array(samples)
            is_settled = len(samples) >= min_runs and settled(times)
            if over or is_settled:
                return times, is_settled
            next_check = len(samples) * 11 // 10 + 1  # keeps the cost of checking negligible


def latency(samples_ns: npt.NDArray[np.int64], batch: int) -> dict[str, float]:
    """The figures of a list of run times."""
    times_ms = samples_ns / 1e6
    p50, p95, p99 = np.percentile(times_ms, (50, 95, 99))
    mean = float(times_ms.mean())
    return {
        "latency_p50_ms": float(p50),
        "latency_p95_ms": float(p95),
        "latency_p99_ms": float(p99),
        "latency_mean_ms": mean,
        "latency_min_ms": float(times_ms.min()),
        "latency_std_ms": float(times_ms.std()),
        "throughput_images_per_s": batch * 1000 / mean,
    }


def operator_profile(model: Path, threads: int, feed: dict[str, Any], runs: int) -> dict[str, Any]:
    """Where the time goes, by operator of the graph as onnxruntime optimised it.

    A session of its own, because profiling slows the runs down.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            session = open_session(model, threads, os.path.join(folder, "profile"))
            for _ in range(PROFILE_WARMUP_RUNS + runs):
                session.run(None, feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:  # JSON that a full disk cut short
        raise ModelError(
            f"the profile cannot be kept in the folder of temporary files ({error}): free some "
            "space, set TMPDIR to another folder, or leave the profile out with --no-profile"
        ) from error
    return summarise_profile(events, runs)


def summarise_profile(events: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """Sum the node events of an onnxruntime profile over the faster half of its last `runs` runs.

    Of the slower half, one interruption would charge its time to an innocent operator.
    """
    timed = sorted((e["ts"], e["dur"]) for e in events if e["name"] == "model_run")[-runs:]
    kept = sorted(timed, key=lambda run: run[1])[: (runs + 1) // 2]
    calls: dict[str, int] = defaultdict(int)
    op_us: dict[str, int] = defaultdict(int)
    node_us: dict[tuple[str, str], int] = defaultdict(int)
    for event in events:
        if not event["name"].endswith("_kernel_time"):
            continue
        if any(start <= event["ts"] <= start + duration for start, duration in kept):
            op = event["args"]["op_name"]
            calls[op] += 1
            op_us[op] += event["dur"]
            node_us[event["name"][: -len("_kernel_time")], op] += event["dur"]
    total_us = sum(op_us.values())

    def cost(us: int) -> dict[str, float]:
        return {"ms_per_run": us / 1000 / len(kept), "share": us / total_us if total_us else 0.0}

    slowest = sorted(node_us, key=lambda node: -node_us[node])[:TOP_NODES]
    return {
        "runs": len(kept),
        "ms_per_run": total_us / 1000 / len(kept),
        "operators": [
            {"op_type": op, "calls_per_run": calls[op] / len(kept), **cost(op_us[op])}
            for op in sorted(op_us, key=lambda op: -op_us[op])
        ],
        "top_nodes": [
            {"name": name, "op_type": op, **cost(node_us[name, op])} for name, op in slowest
        ],
    }


def check_within(minimum: float, maximum: float, **settings: float) -> None:
    """Raise ModelError for a setting that is not between both, or no number."""
    for name, value in settings.items():
        option = name.replace("_", "-")
        if not value >= minimum:
            raise ModelError(f"{option} must be at least {minimum}, not {value}")
        if value > maximum:
            raise ModelError(f"{option} must be at most {maximum:g}, not {value}")


def check_threads(threads: int) -> None:
    """Raise ModelError for none, or for many more than the machine runs at once."""
    check_within(1, THREADS_PER_CORE * (os.cpu_count() or 1), threads=threads)


def check_memory(needed: int, of: str) -> None:
    """Raise ModelError where this machine has not so much."""
    available = available_memory_bytes()
    if available is not None and needed > available:
        raise ModelError(
            f"{of} would take {needed / 2**30:,.1f} GiB of memory, and this machine has "
            f"{available / 2**30:,.1f} GiB left: use a smaller --batch or --shape"
        )


def check_images(model: Path, threads: int, name: str, shape: list[int], dtype: Any) -> None:
    """Raise ModelError where memory will not do for these images and what is computed of them.

    Where they are many, a few are run first in a session of their own, to see what each takes.
    """
    batch = f"a run of {shape[0]} images of shape {shape[1:]}"
    image_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    check_memory(2 * image_bytes * shape[0], batch)  # made in float32, and then converted
    few = max(1, PROBE_BYTES // image_bytes)
    if few < shape[0]:
        session = open_session(model, threads)
        before = peak_memory_bytes()
        session.run(None, {name: random_image([few, *shape[1:]], dtype)})
        check_memory((peak_memory_bytes() - before) * shape[0] // few, batch)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process by SIGALRM when time is up: native code hears nothing else."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def warm_up(run: Callable[[], object], seconds: float) -> None:
    """Run for so long, three times at least."""
    start = time.perf_counter()
    # onnxruntime plans its memory in the first run, allocates the plan in the second, reuses it.
    for _ in range(3):
        run()
    while time.perf_counter() - start < seconds:
        run()


def seconds_of(run: Callable[[], object]) -> float:
    """The time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bench(
    model: Path,
    batch: int = 1,
    threads: int | None = None,
    shape: tuple[int, ...] | None = None,
    warmup_seconds: float = 0.5,
    min_runs: int = 50,
    min_seconds: float = 2.0,
    max_seconds: float = 15.0,
    give_up_seconds: float = GIVE_UP_SECONDS,
    profile: bool = True,
) -> dict[str, Any]:
    """Profile the model in this process, which should have done nothing else before.

    Memory is the peak up to the end of the warm-up: what follows only adds the list of samples.
    `threads` None takes the physical cores this process may use. Raises ModelError; SIGALRM ends
    the process where loading, or the first run, takes longer than `give_up_seconds`.
    """
    facts = machine()
    threads = facts["physical_cores"] if threads is None else threads
    check_threads(threads)
    check_within(1, MAX_BATCH, batch=batch)
    check_within(1, MAX_RUNS, min_runs=min_runs)
    for size in shape or ():
        check_within(1, MAX_SIDE, shape=size)
    check_within(
        0,
        MAX_SECONDS,
        warmup_seconds=warmup_seconds,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
    )
    check_within(0, MAX_SECONDS, give_up_seconds=give_up_seconds)
    if not (model.is_file() and os.access(model, os.R_OK)):
        raise ModelError(f"no model file to read at {model}: check the path")

    baseline_bytes = peak_memory_bytes()
    start = time.perf_counter()
    with deadline(give_up_seconds):
        session = open_session(model, threads)
    load_seconds = time.perf_counter() - start
    node = only_input(model, session)
    dtype = INPUT_TYPES[node.type]
    full_shape = input_shape(model, node, batch, shape)

    try:
        with deadline(give_up_seconds):
            check_images(model, threads, node.name, full_shape, dtype)
            feed = {node.name: random_image(full_shape, dtype)}
            run = functools.partial(session.run, None, feed)
            first_run_seconds = seconds_of(run)
        warm_up(run, warmup_seconds)
        output_shape = list(np.shape(run()[0]))
        peak_bytes = peak_memory_bytes()
        samples_ns, is_settled = time_runs(run, min_runs, min_seconds, max_seconds)
        figures = latency(samples_ns, batch)
        operators = None
        if profile:
            affordable = int(PROFILE_SECONDS * 1000 / figures["latency_p50_ms"])
            runs = max(3, min(PROFILE_RUNS, affordable))
            operators = operator_profile(model, threads, feed, runs)
    except ORT_ERRORS as error:
        raise ModelError(
            f"{model} does not run on an input of shape {full_shape}: {error_text(error)} "
            "(try another --shape, or a smaller --batch if memory is short)"
        ) from error

    return {
        "model": model.name,
        "model_size_bytes": size_bytes(model),
        "load_time_ms": load_seconds * 1000,
        "first_run_ms": first_run_seconds * 1000,
        **figures,
        "runs": len(samples_ns),
        "settled": is_settled and undisturbed(samples_ns),
        "peak_memory_bytes": peak_bytes,
        "baseline_memory_bytes": baseline_bytes,
        "model_memory_bytes": peak_bytes - baseline_bytes,
        "batch_size": batch,
        "threads": threads,
        "input_name": node.name,
        "input_type": np.dtype(dtype).name,
        "input_shape": full_shape,
        "output_name": session.get_outputs()[0].name,
        "output_shape": output_shape,
        **facts,
        "profile": operators,
    }


def image_shape(text: str) -> tuple[int, ...]:
    """Parse "3,32,32"."""
    return tuple(int(size) for size in text.split(","))


def main() -> int:
    """Parse the command line, print one JSON object, return the exit code."""
    parser = argparse.ArgumentParser(
        description="Profile an ONNX image classifier on this machine's CPU; prints JSON.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch", type=int, help="images a run (1)")
    parser.add_argument("--threads", type=int, help="threads (the physical cores)")
    parser.add_argument("--shape", type=image_shape, help="dimensions after the batch, as 3,32,32")
    parser.add_argument("--warmup-seconds", type=float, help="untimed runs first (0.5)")
    parser.add_argument("--min-runs", type=int, help="minimum number of timed runs (50)")
    parser.add_argument("--min-seconds", type=float, help="minimum time of the timed runs (2)")
    parser.add_argument("--max-seconds", type=float, help="end of the timed runs (15)")
    parser.add_argument("--give-up-seconds", type=float, help="for loading and one run (120)")
    parser.add_argument("--no-profile", dest="profile", action="store_false", help="no operators")
    settings = vars(parser.parse_args())
    gc.disable()  # a collection inside a timed run would count as the model's time
    limit_memory()
    try:
        report = bench(**settings)
    except ModelError as failure:
        print(json.dumps({"error": str(failure)}, allow_nan=False))
        return 1
    print(json.dumps(report, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
