"""How the result of a benchmark is shown, and what it reports on its way."""

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render.checks import show_verdict
from sdedge.cli.render.figures import limits_text, mebibytes, threads_text
from sdedge.cli.render.predictions import show_reports
from sdedge.cli.render.progress import render
from sdedge.cli.render.scores import show_scores
from sdedge.deploy.latency.profiler import Measurement
from sdedge.pipeline.bench import BenchResult
from sdedge.pipeline.predict import BudgetLimitsTaken


@render.register
def _(event: BudgetLimitsTaken, console: Console) -> None:
    device = f", which is for {event.target}" if event.target else ""
    console.print(
        f"limits of the run's budget{shown(device)}: {limits_text(event.limits.active)}; "
        "--max-... gives others"
    )


def show_bench(out: Console, result: BenchResult) -> None:
    """Print the measurement, the predictions, the verdict on a budget, and the scores."""
    _print_measurement(out, result.measurement)
    if result.predictions:
        show_reports(out, result.predictions)
    if result.verdict:
        show_verdict(out, result.verdict)
    show_scores(out, result.scores)


def _print_measurement(out: Console, measurement: Measurement) -> None:
    out.print(
        f"[bold]{shown(measurement.model)}[/bold] on {shown(measurement.cpu_model)}, "
        f"{threads_text(measurement.threads)}, batch {measurement.batch_size}, "
        f"ONNX Runtime {measurement.onnxruntime_version}"
    )
    rows = [
        ("latency p50", f"{measurement.latency_p50_ms:.3f} ms"),
        ("latency p95", f"{measurement.latency_p95_ms:.3f} ms"),
        ("latency p99", f"{measurement.latency_p99_ms:.3f} ms"),
        ("latency mean", f"{measurement.latency_mean_ms:.3f} ms over {measurement.runs:,} runs"),
        ("throughput", f"{measurement.throughput_images_per_s:,.0f} images/s"),
        ("load time", f"{measurement.load_time_ms:.1f} ms"),
        ("model size", f"{measurement.model_size_bytes:,} bytes"),
        (
            "peak memory",
            f"{mebibytes(measurement.peak_memory_bytes)}, "
            f"{mebibytes(measurement.model_memory_bytes)} of it the model's",
        ),
    ]
    out.print(table("", ("figure", "value"), rows), soft_wrap=False)
    if not measurement.settled:
        tail = measurement.latency_p99_ms / measurement.latency_p50_ms
        out.print(
            f"[yellow]The figures are unsettled (p99 is {tail:.1f} times p50): other work is using "
            f"this machine (load {measurement.load_average_1min:.1f}). Measure again when it is "
            "idle.[/yellow]"
        )
    if measurement.profile:
        out.print(
            table(
                f"operators, {measurement.profile.ms_per_run:.3f} ms a run with profiling on",
                ("operator", "calls", "ms", "share"),
                (
                    (o.op_type, f"{o.calls_per_run:g}", f"{o.ms_per_run:.3f}", f"{o.share:.1%}")
                    for o in measurement.profile.operators
                ),
            ),
            soft_wrap=False,
        )
