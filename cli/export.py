"""sdedge export"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from sdedge.cli import options
from sdedge.cli.output import console, guarded, percent, print_json, shown

if TYPE_CHECKING:
    from sdedge.deploy.int8.choose import Int8Report
    from sdedge.deploy.onnx.verify import ExportReport

CALIBRATION_IMAGES = 512
THREADS = 1  # of the comparison of fp32 and int8


@guarded
def export(
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX (the default and only format).")
    ] = True,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise it as well, and compare accuracy and latency."),
    ] = False,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that --int8 takes ranges from.")
    ] = CALIBRATION_IMAGES,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Put the normalisation inside the graph.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Where the images are now; default: as in training.")
    ] = None,
    data_root: options.DataRoot = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Check on this many test images (default: all).")
    ] = None,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Export the trained network of a run, and check the file on the test images."""
    out = console(json_output=json_output)
    value = start_export(
        out,
        run,
        dataset,
        data_root,
        normalize=normalize,
        limit=limit,
        int8=int8,
        calibration_images=calibration_images,
    )
    if json_output:
        print_json(value)


def start_export(
    out: Console,
    path: Path | None,
    dataset: str | None = None,
    data_root: str | None = None,
    *,
    normalize: bool = False,
    limit: int | None = None,
    int8: bool = False,
    calibration_images: int = CALIBRATION_IMAGES,
) -> dict[str, Any]:
    """Export, tell about it on `out`, and give the JSON summary."""
    from sdedge.cli.budget import report_verdict
    from sdedge.cli.phases import open_trained
    from sdedge.deploy.card import count_by_class, write_card
    from sdedge.deploy.export import write_export
    from sdedge.deploy.int8.choose import check_int8, judge, predictions, quantize_network
    from sdedge.deploy.latency.compare import compare_latency
    from sdedge.deploy.onnx.verify import export_network
    from sdedge.run import RunDir

    run = RunDir.open(path)
    network, description, data = open_trained(out, run, dataset, data_root)
    checks: dict[str, Any] = {"normalize": normalize, "limit": limit}
    quantized = predicted_int8 = None
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("checking on test images", total=None)
        checks["progress"] = lambda done, total: bar.update(task, completed=done, total=total)
        model, report = export_network(network, description, data.test, **checks)
        predicted = predictions(model, description, data.test, **checks)
        if int8:
            bar.update(task, description="quantising", total=None)
            quantized = quantize_network(
                network,
                description,
                data,
                model,
                normalize=normalize,
                calibration_images=calibration_images,
            )
            bar.update(task, description="checking int8 on test images")
            check_int8(quantized.model, description, data.test, normalize=normalize)
            predicted_int8 = predictions(quantized.model, description, data.test, **checks)
    labels = data.test.labels[:limit]
    by_class = count_by_class(data.classes, labels, predicted, predicted_int8)
    judged = None
    if quantized is not None and predicted_int8 is not None:
        out.print("[dim]measuring[/dim]")  # without the bar: it would take time from it
        models = {"fp32": model, "int8": quantized.model}
        latencies = compare_latency(models, description.image_size, threads=THREADS)
        accuracy = float((predicted_int8 == labels).mean())
        judged = judge(quantized, report, accuracy, latencies, THREADS)
    both = (quantized.model, judged) if quantized and judged else None
    value = write_export(run, model, report, by_class, both)
    write_card(run)
    _report(out, run.onnx, report)
    if judged is not None:
        _report_int8(out, run.onnx_int8, judged)
    verdict = report_verdict(out, run)
    return {
        "run": str(run.path),
        "model": str(run.onnx),
        **value,
        **({"budget": verdict} if verdict else {}),
    }


def _report(out: Console, path: Path, report: "ExportReport") -> None:
    out.print(f"[bold]Exported[/bold] {shown(path)}")
    out.print(
        f"  {report.file_size_bytes:,} bytes, {report.size_ratio:.3f} times its "
        f"{report.parameters:,} weights of 4 bytes; {sum(report.nodes.values())} nodes, "
        f"opset {report.opset}"
    )
    out.print(
        f"  accuracy on {report.images:,} test images: ONNX Runtime "
        f"{percent(report.onnx_accuracy)}, torch {percent(report.torch_accuracy)}; "
        f"{report.differing_predictions} predictions differ, logits by at most "
        f"{report.max_abs_logit_difference:.1e}"
    )


def _report_int8(out: Console, path: Path, report: "Int8Report") -> None:
    out.print(f"[bold]Quantised[/bold] {shown(path)}")
    out.print(
        f"  {report.file_size_bytes:,} bytes, {report.bytes_per_parameter:.3f} a parameter; "
        f"{sum(report.nodes.values())} nodes; ranges by {report.method.replace('_', ' ')} of "
        f"{report.calibration_images:,} training images"
    )
    out.print(
        f"  accuracy on {report.images:,} test images: int8 {percent(report.onnx_accuracy)}, "
        f"fp32 {percent(report.fp32_onnx_accuracy)}"
    )
    out.print(
        f"  latency on this CPU, {report.threads} thread, median of runs in turns: int8 "
        f"{report.latency_p50_ms:.3f} ms, fp32 {report.fp32_latency_p50_ms:.3f} ms"
    )
    if not report.settled:
        out.print(
            "  [yellow]these medians did not settle, as other work is using the CPU; export again "
            "when it is idle[/yellow]"
        )
    if report.reasons:
        out.print(f"  [yellow]recommended: fp32. int8: {'; '.join(report.reasons)}[/yellow]")
    else:
        out.print("  recommended: int8")
