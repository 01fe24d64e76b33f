"""sdedge export"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as ProgressBar

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json, shown
from sdedge.cli.render.checks import print_verdict
from sdedge.cli.render.figures import few_images, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdedge.data.dataset import Dataset
    from sdedge.deploy.fit.requirements import Requirements
    from sdedge.deploy.formats.onnx.verify import ExportReport, Progress
    from sdedge.deploy.int8.choose import Int8Report
    from sdedge.run import RunDir
    from sdedge.space.darts.network import Network
    from sdedge.space.saved import NetworkDescription

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
    """Export, tell about it on `out`, and give the JSON summary.

    Where only the quantisation fails, the fp32 files are written before the ExportError.
    """
    from sdedge.cli.render import images as image_events  # noqa: F401 - registers them
    from sdedge.cli.render.progress import ConsoleReporter
    from sdedge.deploy.card import count_by_class, write_card
    from sdedge.deploy.export import write_export
    from sdedge.deploy.formats.onnx.verify import export_network
    from sdedge.errors import BenchError, DataError, ExportError
    from sdedge.pipeline.images import open_trained
    from sdedge.pipeline.verdict import check_budget, stored_requirements
    from sdedge.run import RunDir

    run = RunDir.open(path)
    with run.lock():
        with ConsoleReporter(out) as reporter:
            network, description, data, data_notes = open_trained(run, dataset, data_root, reporter)
        labels = data.test.labels[:limit]
        checks = _Checks(out, description, data, normalize=normalize, limit=limit)
        with checks.bar("checking on test images") as progress:
            model, report = export_network(
                network, description, data.test, normalize=normalize, limit=limit, progress=progress
            )
            predicted = checks.predictions(model, progress)
        made = problem = None
        budget = stored_requirements(run)
        if int8:
            try:
                made = checks.quantise(network, model, report, calibration_images, budget)
            except (BenchError, DataError, ExportError) as error:
                problem = error
        by_class = count_by_class(data.classes, labels, predicted, made.predicted if made else None)
        both = (made.model, made.report) if made else None
        value, removed = write_export(run, model, report, by_class, both, data_notes)
        write_card(run)
        _report(out, run.onnx, report)
        if made:
            _report_int8(out, run.onnx_int8, made.report)
            _report_calibration(out, made.report, calibration_images)
        verdict = check_budget(run)
        if verdict:
            print_verdict(out, verdict)
            write_card(run)  # with it
        removed = [path for path in removed if not path.exists()]
        _report_removed(out, run, removed, normalize=normalize)
    if problem is not None:
        raise ExportError(f"{run.onnx_int8} was not made, {run.onnx} was: {problem}") from problem
    return {
        "run": str(run.path),
        "model": str(run.onnx),
        **value,
        **({"removed": [path.name for path in removed]} if removed else {}),
        **({"budget": verdict.to_dict()} if verdict else {}),
    }


@dataclass(frozen=True)
class _Int8:
    """A quantised network, what it makes of the test images, and how it compares with fp32."""

    model: bytes
    predicted: "NDArray[np.int64]"
    report: "Int8Report"


@dataclass(frozen=True)
class _Checks:
    """What an exported network is checked on."""

    out: Console
    description: "NetworkDescription"
    data: "Dataset"
    normalize: bool
    limit: int | None

    @contextmanager
    def bar(self, what: str) -> Iterator["Progress"]:
        """A progress bar; yields what moves it."""
        with ProgressBar(console=self.out, transient=True, disable=not self.out.is_terminal) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def predictions(self, model: bytes, progress: "Progress") -> "NDArray[np.int64]":
        """The classes that a model gives the test images."""
        from sdedge.deploy.int8.choose import predictions

        return predictions(
            model,
            self.description,
            self.data.test,
            normalize=self.normalize,
            limit=self.limit,
            progress=progress,
        )

    def quantise(
        self,
        network: "Network",
        model: bytes,
        report: "ExportReport",
        calibration_images: int,
        budget: "Requirements | None",
    ) -> _Int8:
        """The quantised form of the network that `model` is the fp32 export of."""
        from sdedge.deploy.fit.recommend import recommend
        from sdedge.deploy.int8.choose import check_int8, judge, quantize_network
        from sdedge.deploy.latency.compare import compare_latency

        description, data = self.description, self.data
        with self.bar("quantising"):
            quantized = quantize_network(
                network,
                description,
                data,
                model,
                normalize=self.normalize,
                calibration_images=calibration_images,
            )
        with self.bar("checking int8 on test images") as progress:
            check_int8(quantized.model, description, data.test, normalize=self.normalize)
            predicted = self.predictions(quantized.model, progress)
        self.out.print("[dim]measuring[/dim]")  # without a bar: it would take time from it
        models = {"fp32": model, "int8": quantized.model}
        latencies = compare_latency(models, description.image_size, threads=THREADS)
        accuracy = float((predicted == data.test.labels[: self.limit]).mean())
        judged = judge(quantized, report, accuracy, latencies, THREADS)
        if budget:
            judged = recommend(judged, model, quantized.model, budget)
        return _Int8(quantized.model, predicted, judged)


def _report(out: Console, path: Path, report: "ExportReport") -> None:
    out.print(f"[bold]Exported[/bold] {shown(path)}")
    out.print(
        f"  {report.file_size_bytes:,} bytes, {report.size_ratio:.3f} times its "
        f"{report.parameters:,} weights of 4 bytes; {sum(report.nodes.values())} nodes, "
        f"opset {report.opset}"
    )
    out.print(
        f"  accuracy on {report.images:,} test images: ONNX Runtime "
        f"{percent(report.onnx_accuracy)}{few_images(report.onnx_accuracy, report.images)}, "
        f"torch {percent(report.torch_accuracy)}; "
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
        f"  accuracy on {report.images:,} test images: int8 {percent(report.onnx_accuracy)}"
        f"{few_images(report.onnx_accuracy, report.images)}, "
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
    where = report.recommended_for or "this CPU"
    reasons = f" ({'; '.join(report.reasons)})" if report.reasons else ""
    out.print(f"  recommended for {shown(where)}: {report.recommended}{shown(reasons)}")


def _report_calibration(out: Console, report: "Int8Report", asked: int) -> None:
    """Say where there were fewer images than asked for."""
    if report.calibration_images < asked:
        out.print(
            f"  [yellow]the training images gave {report.calibration_images:,} of {asked:,} to "
            f"calibrate on, and {report.held_out_images:,} others to choose the method by[/yellow]"
        )


def _report_removed(out: Console, run: "RunDir", removed: list[Path], *, normalize: bool) -> None:
    """Say which files the new export made untrue."""
    if not removed:
        return
    names = ", ".join(path.name for path in removed)
    again = ""
    if run.onnx_int8 in removed:
        option = " --normalize" if normalize else ""
        again = (
            f"; make int8 of this export with: sdedge export --int8{option} --run {shown(run.path)}"
        )
    out.print(f"  [yellow]removed, as of the earlier export: {names}{again}[/yellow]")
