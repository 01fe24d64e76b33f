"""How an export reads: each file with what its check found, the budget, what went."""

import shlex
from pathlib import Path

from rich.console import Console

from sdedge.cli.output import shown
from sdedge.cli.render import images as images  # registers the events of its data set
from sdedge.cli.render.checks import show_verdict
from sdedge.cli.render.figures import few_images, percent
from sdedge.cli.render.progress import ConsoleReporter, render
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.formats.check import FormatReport
from sdedge.deploy.formats.onnx.verify import ExportReport
from sdedge.deploy.int8.report import Int8Report
from sdedge.pipeline.export import Exported, ExportResult
from sdedge.run import model_name


def export_reporter(console: Console) -> ConsoleReporter:
    """Shows how an export goes, and what comes of it."""
    return ConsoleReporter(console)


@render.register
def _(event: Exported, console: Console) -> None:
    result = event.result
    for artifact in result.artifacts:
        match artifact.report:
            case ExportReport() as report:
                _print_fp32(console, artifact.path, report)
            case Int8Report() as report:
                _print_int8(console, artifact.path, report, result.calibration_images)
            case FormatReport() as report:
                _print_format(console, artifact, report)
    if result.verdict:
        show_verdict(console, result.verdict)
    if result.removed:
        _print_removed(console, result)


def _print_fp32(console: Console, path: Path, report: ExportReport) -> None:
    console.print(f"[bold]Exported[/bold] {shown(path)}")
    console.print(
        f"  {report.file_size_bytes:,} bytes, {report.size_ratio:.3f} times its "
        f"{report.parameters:,} weights of 4 bytes; {sum(report.nodes.values())} nodes, "
        f"opset {report.opset}"
    )
    console.print(
        f"  accuracy on {report.images:,} test images: ONNX Runtime "
        f"{percent(report.onnx_accuracy)}{few_images(report.onnx_accuracy, report.images)}, "
        f"torch {percent(report.torch_accuracy)}; "
        f"{report.differing_predictions} predictions differ, logits by at most "
        f"{report.max_abs_logit_difference:.1e}"
    )


def _print_int8(console: Console, path: Path, report: Int8Report, asked: int) -> None:
    console.print(f"[bold]Quantised[/bold] {shown(path)}")
    console.print(
        f"  {report.file_size_bytes:,} bytes, {report.bytes_per_parameter:.3f} a parameter; "
        f"{sum(report.nodes.values())} nodes; ranges by {report.method.replace('_', ' ')} of "
        f"{report.calibration_images:,} training images"
    )
    console.print(
        f"  accuracy on {report.images:,} test images: int8 {percent(report.onnx_accuracy)}"
        f"{few_images(report.onnx_accuracy, report.images)}, "
        f"fp32 {percent(report.fp32_onnx_accuracy)}"
    )
    console.print(
        f"  latency on this CPU, {report.threads} thread, median of runs in turns: int8 "
        f"{report.latency_p50_ms:.3f} ms, fp32 {report.fp32_latency_p50_ms:.3f} ms"
    )
    if not report.settled:
        console.print(
            "  [yellow]these medians did not settle, as other work is using the CPU; export again "
            "when it is idle[/yellow]"
        )
    where = report.recommended_for or "this CPU"
    reasons = f" ({'; '.join(report.reasons)})" if report.reasons else ""
    console.print(f"  recommended for {shown(where)}: {report.recommended}{shown(reasons)}")
    if report.calibration_images < asked:
        console.print(
            f"  [yellow]the training images gave {report.calibration_images:,} of {asked:,} to "
            f"calibrate on, and {report.held_out_images:,} others to choose the method by[/yellow]"
        )


def _print_format(console: Console, artifact: Artifact, report: FormatReport) -> None:
    """A file of another format than ONNX."""
    console.print(f"[bold]Exported[/bold] {', '.join(shown(path) for path in artifact.files)}")
    checked = "; not run, as nothing here can"
    if report.images and report.accuracy is not None:
        checked = (
            f"; accuracy on {report.images:,} test images {percent(report.accuracy)}"
            f"{few_images(report.accuracy, report.images)}, {report.differing_predictions} "
            "predictions differ from ONNX"
        )
    console.print(f"  {report.file_size_bytes:,} bytes{checked}")


def _print_removed(console: Console, result: ExportResult) -> None:
    """Which files the new export made untrue."""
    names = ", ".join(path.name for path in result.removed)
    again = ""
    if any(path.name == model_name("onnx", "int8") for path in result.removed):
        option = " --normalize" if result.normalize else ""
        run = shown(shlex.quote(str(result.run)))
        again = f"; make int8 of this export with: sdedge export --int8{option} --run {run}"
    console.print(f"  [yellow]removed, as of the earlier export: {names}{again}[/yellow]")
