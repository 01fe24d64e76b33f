"""Profile an ONNX model from Python: runs `bench.py` in a process of its own.

The memory of a process that has torch loaded says nothing about the model, so nothing is measured
here. `BENCH_SCRIPT` is the file to copy to a board; `Measurement.from_json` reads what it prints.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdedge.deploy.latency import bench
from sdedge.errors import BenchError, RunError
from sdedge.resources import usable_cpus
from sdedge.schema import decode_json, to_record

BENCH_SCRIPT = Path(__file__).with_name("bench.py")
GIVE_UP_SECONDS = 120.0  # for loading, and for the first run


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """All nodes of one operator type; share is of the time of all operators, 0 to 1."""

    op_type: str
    calls_per_run: float
    ms_per_run: float
    share: float


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """One node of the optimised graph; share is of the time of all operators, 0 to 1."""

    name: str
    op_type: str
    ms_per_run: float
    share: float


@dataclass(frozen=True, kw_only=True)
class OperatorProfile:
    """Where the time goes in the graph as ONNX Runtime optimised it, most expensive first.

    Taken in a session of its own; profiling makes runs slower than `latency_p50_ms`.
    """

    runs: int
    ms_per_run: float
    operators: tuple[OperatorCost, ...]
    top_nodes: tuple[NodeCost, ...]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one profile of a model on one machine found. Latency is of a whole batch.

    `settled` tells whether the median was known to 2 % before the time limit, and p99 is at most
    five times the median. Memory is resident memory of a process that does nothing else: the
    baseline is Python, numpy and onnxruntime, and `model_memory_bytes` is what loading and running
    the model added to it.
    Where a machine does not tell its governor it is None; so is a profile not asked for.
    """

    model: str
    model_size_bytes: int
    load_time_ms: float
    first_run_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    latency_mean_ms: float
    latency_min_ms: float
    latency_std_ms: float
    throughput_images_per_s: float
    runs: int
    settled: bool
    peak_memory_bytes: int
    baseline_memory_bytes: int
    model_memory_bytes: int
    batch_size: int
    threads: int
    input_name: str
    input_type: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    cpu_model: str
    cpu_governor: str | None
    logical_cores: int
    physical_cores: int
    load_average_1min: float
    platform: str
    python_version: str
    numpy_version: str
    onnxruntime_version: str
    profile: OperatorProfile | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as plain dicts and sequences."""
        return asdict(self)

    def to_json(self) -> str:
        """The JSON form, as text ending in a newline."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: object, *, source: str = "bench result") -> "Measurement":
        """Read the JSON form; `source` names the file in the BenchError of a malformed one."""
        try:
            return to_record(data, cls, source=source, error=BenchError)
        except BenchError as error:
            raise BenchError(f"{error}; profile again") from None

    @classmethod
    def from_json(cls, text: str, *, source: str = "bench result") -> "Measurement":
        """Read the JSON form from text; raises BenchError."""
        try:
            data = decode_json(text.encode(), object, source=source, error=BenchError)
        except BenchError as error:
            raise BenchError(f"{error}; profile again") from None
        return cls.from_dict(data, source=source)


def default_threads() -> int:
    """The physical cores that this process may keep busy, a container's quota considered."""
    return min(bench.physical_cores(), usable_cpus())


def run_bench(
    model: Path,
    *,
    batch: int = 1,
    threads: int | None = None,
    shape: Sequence[int] | None = None,
    warmup_seconds: float | None = None,
    min_runs: int | None = None,
    min_seconds: float | None = None,
    max_seconds: float | None = None,
    give_up_seconds: float = GIVE_UP_SECONDS,
    profile: bool = True,
) -> Measurement:
    """Profile an ONNX image classifier on the CPU of this machine.

    `threads` None takes `default_threads`. `shape` gives the three
    dimensions after the batch of a model that leaves them open. The other None take the defaults
    of `bench.py`: 0.5 s of warm-up, then 50 runs and 2 s at least, until the median is settled
    or 15 s are over. Raises BenchError, also where loading or one run takes longer than
    `give_up_seconds`.
    """
    flags = {
        "batch": batch,
        "threads": default_threads() if threads is None else threads,
        "shape": shape and ",".join(map(str, shape)),
        "warmup-seconds": warmup_seconds,
        "min-runs": min_runs,
        "min-seconds": min_seconds,
        "max-seconds": max_seconds,
        "give-up-seconds": give_up_seconds,
    }
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    if not profile:
        given.append("--no-profile")
    # -P keeps the modules beside bench.py from hiding installed packages.
    command = [sys.executable, "-P", str(BENCH_SCRIPT), *given, "--", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        if -done.returncode == signal.SIGALRM:
            raise BenchError(
                f"profiling {model} was stopped: loading it, or one run of {batch} images, takes "
                f"longer than {give_up_seconds:g} s; use a smaller batch or image, or a smaller "
                "model"
            )
        raise BenchError(_failure(model, done))
    return Measurement.from_json(done.stdout, source=f"profile of {model}")


def _failure(model: Path, done: "subprocess.CompletedProcess[str]") -> str:
    """Why bench.py ended without a result."""
    if done.returncode < 0:
        return (
            f"profiling {model} was stopped by signal {-done.returncode}; if memory ran out, "
            "use a smaller batch"
        )
    try:
        return decode_json(done.stdout.encode(), dict[str, str], source="bench.py")["error"]
    except (RunError, KeyError):
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"profiling {model} failed with exit code {done.returncode}: {last_line}"
