"""sdedge bench"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sdedge.cli import options
from sdedge.cli.output import console, guarded, mebibytes, print_json, table
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.deploy.profiler import BenchResult

DEVICES = ("cpu",)


@guarded
def bench(
    device: Annotated[str, typer.Option(help="cpu: this machine, through ONNX Runtime.")] = "cpu",
    model: Annotated[
        Path | None, typer.Option(help="Any ONNX classifier; default: the run's model.onnx.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images a run.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Default: the physical cores.")] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="For a model without a fixed image size.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="Time every operator.")
    ] = True,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Measure latency, memory and operators of an exported network."""
    if device not in DEVICES:
        raise ConfigError(f"device is {device!r}; there is: {', '.join(DEVICES)}")
    out = console(json_output=json_output)
    value = start_bench(
        out, run, model, batch=batch, threads=threads, shape=_dimensions(shape), profile=profile
    )
    if json_output:
        print_json(value)


def start_bench(
    out: Console,
    path: Path | None,
    model: Path | None,
    *,
    batch: int = 1,
    threads: int | None = None,
    shape: tuple[int, ...] | None = None,
    profile: bool = True,
) -> dict[str, Any]:
    """Measure, tell about it on `out`, and give the JSON summary; a run's goes to bench.json."""
    from sdedge.deploy.profiler import run_bench
    from sdedge.run import RunDir, write_json

    file, results = model, None
    if file is None:
        run = RunDir.open(path)
        file, results = run.made_by(run.onnx, "export"), run.path / "bench.json"
    out.print("[dim]measuring[/dim]")  # no spinner: it would take time from what is measured
    result = run_bench(file, batch=batch, threads=threads, shape=shape, profile=profile)
    value = result.to_dict()
    if results is not None:
        write_json(results, value)
    _report(out, result)
    return {"model_path": str(file), **value}


def _report(out: Console, result: "BenchResult") -> None:
    out.print(
        f"[bold]{escape(result.model)}[/bold] on {escape(result.cpu_model)}, "
        f"{result.threads} threads, batch {result.batch_size}, "
        f"ONNX Runtime {result.onnxruntime_version}"
    )
    rows = [
        ("latency p50", f"{result.latency_p50_ms:.3f} ms"),
        ("latency p95", f"{result.latency_p95_ms:.3f} ms"),
        ("latency p99", f"{result.latency_p99_ms:.3f} ms"),
        ("latency mean", f"{result.latency_mean_ms:.3f} ms over {result.runs:,} runs"),
        ("throughput", f"{result.throughput_images_per_s:,.0f} images/s"),
        ("load time", f"{result.load_time_ms:.1f} ms"),
        ("model size", f"{result.model_size_bytes:,} bytes"),
        (
            "peak memory",
            f"{mebibytes(result.peak_memory_bytes)}, "
            f"{mebibytes(result.model_memory_bytes)} of it the model's",
        ),
    ]
    out.print(table("", ("figure", "value"), rows), soft_wrap=False)
    if not result.settled:
        out.print(
            "[yellow]The figures did not settle within the time limit: other work is using this "
            f"machine (load {result.load_average_1min:.1f}). Measure again when it is idle."
            "[/yellow]"
        )
    if result.profile:
        out.print(
            table(
                f"operators, {result.profile.ms_per_run:.3f} ms a run with profiling on",
                ("operator", "calls", "ms", "share"),
                (
                    (o.op_type, f"{o.calls_per_run:g}", f"{o.ms_per_run:.3f}", f"{o.share:.1%}")
                    for o in result.profile.operators
                ),
            ),
            soft_wrap=False,
        )


def _dimensions(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"--shape {text!r} is not three numbers, such as 3,32,32")
    return tuple(int(part) for part in parts)
