"""The quantised file compared with the fp32 one, and which of them to deploy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sdedge.deploy.formats.onnx.verify import ExportReport
from sdedge.deploy.int8.search import MAX_ACCURACY_DROP, Candidate, Quantized
from sdedge.deploy.latency.compare import Latency


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """The INT8 file compared with the fp32 one; accuracies are shares of `images` test images."""

    file_size_bytes: int
    bytes_per_parameter: float  # of the network, before batch norm was folded
    nodes: dict[str, int]  # by type, most frequent first
    images: int
    onnx_accuracy: float
    fp32_onnx_accuracy: float
    latency_p50_ms: float
    latency_p99_ms: float
    fp32_latency_p50_ms: float
    fp32_latency_p99_ms: float
    threads: int
    settled: bool  # whether both medians are stable
    method: str
    weight_limit: int
    calibration_images: int
    held_out_images: int
    candidates: tuple[Candidate, ...]
    recommended: Literal["fp32", "int8"]
    reasons: tuple[str, ...]  # for what is recommended
    recommended_for: str | None = None  # a target; None: the machine of the export

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def judge(
    quantized: Quantized,
    fp32: ExportReport,
    accuracy: float,
    latencies: Mapping[str, Latency],  # of "fp32" and "int8"
    threads: int,
) -> Int8Report:
    """INT8 is recommended where it is faster here and loses at most MAX_ACCURACY_DROP.

    For a target, `sdedge.deploy.fit.recommend` decides.
    """
    quick, exact = latencies["int8"], latencies["fp32"]
    reasons = accuracy_lost(fp32.onnx_accuracy, accuracy)
    if quick.latency_p50_ms >= exact.latency_p50_ms:
        unsure = "" if quick.settled and exact.settled else ", by medians that did not settle"
        reasons.append(
            f"int8 takes {quick.latency_p50_ms:.3f} ms on the CPU that exported it, fp32 "
            f"{exact.latency_p50_ms:.3f}{unsure}"
        )
    return Int8Report(
        file_size_bytes=len(quantized.data),
        bytes_per_parameter=len(quantized.data) / fp32.parameters,
        nodes=quantized.nodes,
        images=fp32.images,
        onnx_accuracy=accuracy,
        fp32_onnx_accuracy=fp32.onnx_accuracy,
        latency_p50_ms=quick.latency_p50_ms,
        latency_p99_ms=quick.latency_p99_ms,
        fp32_latency_p50_ms=exact.latency_p50_ms,
        fp32_latency_p99_ms=exact.latency_p99_ms,
        threads=threads,
        settled=quick.settled and exact.settled,
        method=quantized.best.method,
        weight_limit=quantized.best.weight_limit,
        calibration_images=quantized.calibration_images,
        held_out_images=quantized.held_out_images,
        candidates=quantized.candidates,
        recommended="fp32" if reasons else "int8",
        reasons=tuple(reasons),
    )


def accuracy_lost(fp32: float, int8: float) -> list[str]:
    """The reason against INT8 where it loses more than MAX_ACCURACY_DROP."""
    lost = round(fp32 - int8, 9)  # 0.9 - 0.895 is more than 0.005
    if lost <= MAX_ACCURACY_DROP:
        return []
    most = f"{100 * MAX_ACCURACY_DROP:g}"
    return [f"int8 loses {100 * lost:.2f} points of accuracy, more than {most}"]
