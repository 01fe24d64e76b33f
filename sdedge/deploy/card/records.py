"""What the model card reads of a run's reports: each file checked against a type, as it is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sdedge.bounds import Amount, Name, Natural, Share
from sdedge.deploy.ir.graph import Precision
from sdedge.errors import RunError
from sdedge.run import read_json
from sdedge.schema import to_record

DATA_NOTES = "data_notes"  # in export.json: what is to be known of the test images
PER_CLASS = "per_class"  # in export.json: the dicts of ClassCount

__all__ = [
    "DATA_NOTES",
    "PER_CLASS",
    "BenchFile",
    "ExportFile",
    "FitFile",
    "SearchOrigin",
    "TargetsFile",
    "read_report",
]


@dataclass(frozen=True, kw_only=True)
class SearchOrigin:
    """What the card says of the search in the same run; its operations need not be known here."""

    strategy: Name
    task: Name


@dataclass(frozen=True, kw_only=True)
class _ClassCount:
    name: str
    images: Natural
    fp32_correct: Natural
    int8_correct: Natural | None = None


@dataclass(frozen=True, kw_only=True)
class _Int8:
    onnx_accuracy: Share
    weight_limit: Natural
    recommended: Precision
    reasons: tuple[str, ...]
    recommended_for: str | None = None
    settled: bool
    threads: Natural
    latency_p50_ms: Amount
    latency_p99_ms: Amount
    fp32_latency_p50_ms: Amount
    fp32_latency_p99_ms: Amount


@dataclass(frozen=True, kw_only=True)
class ExportFile:
    """export.json."""

    parameters: Natural
    opset: Natural
    images: Natural
    onnx_accuracy: Share
    per_class: tuple[_ClassCount, ...] = ()
    int8: _Int8 | None = None


@dataclass(frozen=True, kw_only=True)
class BenchFile:
    """bench.json and bench.int8.json."""

    model: str
    cpu_model: str
    onnxruntime_version: str
    threads: Natural
    batch_size: Natural
    runs: Natural
    settled: bool
    latency_p50_ms: Amount
    latency_p95_ms: Amount
    latency_p99_ms: Amount


@dataclass(frozen=True, kw_only=True)
class _Prediction:
    runtime: str
    threads: Natural
    latency_ms: Amount
    low_ms: Amount
    high_ms: Amount
    coverage: Share


@dataclass(frozen=True, kw_only=True)
class _Check:
    limit: Literal["max_latency_ms", "max_ram_kb", "max_flash_kb", "max_params", "ram", "flash"]
    unit: Literal["ms", "kB", ""]
    allowed: Amount
    found: Amount
    margin: float
    fits: bool


@dataclass(frozen=True, kw_only=True)
class FitFile:
    """fit.json."""

    model: str
    precision: Precision
    if_quantised: bool
    fits: bool
    checks: tuple[_Check, ...]
    prediction: _Prediction | None
    measured_p50_ms: Amount | None
    limits: dict[str, Amount]
    confidence: Share | None


@dataclass(frozen=True, kw_only=True)
class _Row:
    title: str
    target: str
    precision: Precision
    if_quantised: bool
    prediction: _Prediction | None


@dataclass(frozen=True, kw_only=True)
class TargetsFile:
    """targets.json."""

    targets: tuple[_Row, ...] = field(default=())


def read_report(path: Path, kind: type[Any], command: str) -> dict[str, Any]:
    """The report at `path`, once it is a `kind`; RunError naming the command that makes it."""
    report = read_json(path)
    try:
        to_record(report, kind, source=str(path))
    except RunError as error:
        raise RunError(f"{error}; make it again with `sdedge {command}`") from None
    return report
