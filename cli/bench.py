"""sdedge bench"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import LimitSettings
    from sdedge.deploy.ir.graph import Precision

DEVICES = ("cpu",)


@guarded
def bench(
    device: Annotated[
        str | None,
        typer.Option(help="cpu: measure on this machine (the default without a target)."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Predict for this device; see `sdedge targets`."),
    ] = None,
    all_targets: Annotated[
        bool, typer.Option("--all-targets", help="Predict for every device: the fit table.")
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32 or int8; default: measured fp32, predicted both."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="The quantised network, as --precision int8.")
    ] = False,
    max_latency_ms: options.MaxLatencyMs = None,
    confidence: options.Confidence = None,
    max_ram_kb: options.MaxRamKb = None,
    max_flash_kb: options.MaxFlashKb = None,
    max_params: options.MaxParams = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Predict without the unknown operators.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="Any ONNX classifier; default: the run's.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images a measured run (1).")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of a measurement; default: the physical cores.")
    ] = None,
    shape: options.Shape = None,
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="Time every operator.")
    ] = True,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Measure an exported network here, or predict how it fits a device.

    A run with a budget is held against it: its limits where none are given, its target too.
    """
    from sdedge.cli.render.bench import show_bench
    from sdedge.cli.render.predictions import show_reports
    from sdedge.cli.render.progress import render
    from sdedge.cli.render.scores import show_scores
    from sdedge.deploy.fit.check import Limits
    from sdedge.pipeline import bench as measuring
    from sdedge.pipeline import predict as predicting
    from sdedge.pipeline.exported import ExportedNetwork

    limits: LimitSettings = {
        "max_latency_ms": max_latency_ms,
        "max_ram_kb": max_ram_kb,
        "max_flash_kb": max_flash_kb,
        "max_params": max_params,
        "confidence": confidence,
    }
    has_limits = bool(Limits(**limits).active)
    if device is not None and device not in DEVICES:
        raise ConfigError(f"device is {device!r}; choose from {', '.join(DEVICES)}")
    if target is not None and all_targets:
        raise ConfigError(f"--target {target} and --all-targets exclude each other; leave out one")
    chosen, image = _precision(precision, int8=int8), options.image_shape(shape)
    target_names = predicting.ALL if all_targets else target
    targets = None if target_names is None else predicting.load_targets(target_names)
    network = ExportedNetwork(None, model) if model else ExportedNetwork.of_run(run)
    budget = network.budget()
    if has_limits and targets is None and budget and budget.target:
        targets = predicting.load_targets(budget.target.name)
    if device is None and targets and (batch, threads) != (None, None):
        raise ConfigError("--batch and --threads are of a measurement; add --device cpu")
    out = console(json_output=json_output)
    # No bar: it would take time from what is measured.
    reporter = functools.partial(render, console=out)
    value: dict[str, Any]
    if device is not None or targets is None:
        result = measuring.bench(
            network,
            precision=chosen,
            batch=1 if batch is None else batch,
            threads=threads,
            shape=image,
            profile=profile,
            target=targets,
            partial=partial,
            verdict=device is None,
            reporter=reporter,
            **limits,
        )
        show_bench(out, result)
        value = result.to_dict()
    else:
        reports = predicting.predict_latency(
            network,
            targets,
            precision=chosen,
            shape=image,
            partial=partial,
            reporter=reporter,
            **limits,
        )
        scores = network.scores()
        show_reports(out, reports)
        show_scores(out, scores)
        value = predicting.reports_to_dict(reports)
        value["mlperf_tiny"] = [score.to_dict() for score in scores]
    if json_output:
        print_json(value)


def _precision(text: str | None, *, int8: bool) -> "Precision | None":
    if int8 and text == "fp32":
        raise ConfigError("--int8 and --precision fp32 exclude each other; leave out one")
    return cast("Precision | None", "int8" if int8 else text)
