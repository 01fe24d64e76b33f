"""The parts of a model card on what was measured: accuracy, size, memory, latency."""

from collections.abc import Mapping
from typing import Any

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.budget import prediction_lines
from sdedge.deploy.card.classes import ClassCount
from sdedge.deploy.card.records import PER_CLASS, BenchFile, read_report
from sdedge.deploy.card.text import table, threads
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.memory.plan import flash_bytes
from sdedge.escape import markdown, markdown_code
from sdedge.proportion import FEW_IMAGES, interval
from sdedge.run import RunDir


def accuracy_part(export: Mapping[str, Any]) -> str:
    """Measured in ONNX Runtime on the files themselves."""
    int8 = export.get("int8")
    counts = [ClassCount(**count) for count in export.get(PER_CLASS, ())]
    precisions = ["fp32", "int8"] if int8 else ["fp32"]
    total = [export["onnx_accuracy"], *([int8["onnx_accuracy"]] if int8 else [])]
    rows = [["all", f"{export['images']:,}", *map(_percent, total)]]
    for count in counts:
        rights = [count.fp32_correct, count.int8_correct][: len(precisions)]
        shares = [_share(right, count.images) for right in rights]
        rows.append([markdown(count.name), f"{count.images:,}", *shares])
    note = "" if counts else "\n\nNot counted by class."
    if 0 < export["images"] < FEW_IMAGES:
        ends = (f"{end:.0%}" for end in interval(total[0], export["images"]))
        note += (
            "\n\nOn so few images an accuracy says little: that of fp32 over all classes is "
            f"{' to '.join(ends)}, with 95% confidence."
        )
    return (
        "Share of test images whose class has the highest score, in ONNX Runtime.\n\n"
        + table(["class", "images", *precisions], rows)
        + note
    )


def size_part(files: Mapping[Precision, Artifact]) -> str:
    """Of each file, and what a device needs to run it."""
    rows = [
        [
            f"`{file.path.name}`",
            precision,
            f"{file.graph.file_size_bytes:,} bytes",
            f"{file.memory.peak_ram_bytes:,} bytes",
            f"{flash_bytes(file.graph):,} bytes",
        ]
        for precision, file in files.items()
    ]
    macs = [file.graph.macs for file in files.values()][-1]
    return (
        table(["file", "precision", "file size", "activations at their peak", "flash"], rows)
        + f"\n\n{macs:,} multiply-accumulates an image. Activations are counted for one "
        "image, in the order in which the file holds its operators, the best one found. Flash is "
        "weights and graph, without a runtime's code."
    )


def latency_part(run: RunDir, export: Mapping[str, Any]) -> str:
    """What `sdedge bench` and the export measured, and what was predicted."""
    lines = []
    for file in map(run.bench, PRECISIONS):
        if file.exists():
            again = f"bench --run {run.path}"
            bench = read_report(file, BenchFile, again)
            unsettled = "" if bench["settled"] else "; not settled, the machine was busy"
            lines.append(
                f"- {markdown_code(bench['model'])} on {markdown(bench['cpu_model'])}, "
                f"{threads(bench['threads'])}, "
                f"batch {bench['batch_size']}, "
                f"ONNX Runtime {markdown(bench['onnxruntime_version'])}: p50 "
                f"{bench['latency_p50_ms']:.3f} ms, p95 {bench['latency_p95_ms']:.3f} ms, p99 "
                f"{bench['latency_p99_ms']:.3f} ms over {bench['runs']:,} runs{unsettled}"
            )
    if int8 := export.get("int8"):
        unsettled = "" if int8["settled"] else "; not settled, the machine was busy"
        lines.append(
            f"- Both in turns on the machine of the export, {threads(int8['threads'])}, one "
            f"image: fp32 p50 {int8['fp32_latency_p50_ms']:.3f} ms, p99 "
            f"{int8['fp32_latency_p99_ms']:.3f} ms; int8 p50 {int8['latency_p50_ms']:.3f} ms, "
            f"p99 {int8['latency_p99_ms']:.3f} ms{unsettled}"
        )
    parts = [*lines, "", "Nothing else was measured."]
    if not lines:
        parts = ["Not measured yet; `sdedge bench` measures it."]
    if predictions := prediction_lines(run):
        parts += ["", "Predicted, not measured:", "", *predictions]
    return "\n".join(parts)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"


def _share(right: int | None, images: int) -> str:
    return "" if right is None or not images else f"{100 * right / images:.1f}%"
