"""Reports of an export, with round figures."""

from sdedge.deploy.formats.onnx.verify import ExportReport
from sdedge.deploy.int8.report import Int8Report

REPORT = ExportReport(
    file_size_bytes=1000,
    parameters=1234,
    size_ratio=1.0,
    nodes={"Conv": 3},
    opset=13,
    normalized_in_graph=False,
    images=40,
    torch_accuracy=0.875,
    onnx_accuracy=0.875,
    differing_predictions=0,
    max_abs_logit_difference=0.0,
)
INT8 = Int8Report(
    file_size_bytes=500,
    bytes_per_parameter=1.1,
    nodes={"Conv": 3},
    images=40,
    onnx_accuracy=0.85,
    fp32_onnx_accuracy=0.875,
    latency_p50_ms=0.25,
    latency_p99_ms=0.5,
    fp32_latency_p50_ms=0.75,
    fp32_latency_p99_ms=0.875,
    threads=1,
    settled=True,
    method="percentile",
    weight_limit=127,
    calibration_images=8,
    held_out_images=8,
    candidates=(),
    recommended="int8",
    reasons=(),
)
