"""sdedge bench"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.benched_network import PRECISIONS, BenchedNetwork
from sdedge.cli.output import console, guarded, print_json
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.deploy.fit.evaluate import TargetReport
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
        bool, typer.Option("--partial", help="Predict without the operators nobody knows.")
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
    from sdedge.deploy.fit.check import Limits

    limits = Limits(
        max_latency_ms=max_latency_ms,
        max_ram_kb=max_ram_kb,
        max_flash_kb=max_flash_kb,
        max_params=max_params,
        confidence=confidence,
    )
    if device is not None and device not in DEVICES:
        raise ConfigError(f"device is {device!r}; choose from {', '.join(DEVICES)}")
    if target is not None and all_targets:
        raise ConfigError(f"--target {target} and --all-targets exclude each other; leave out one")
    chosen, image = _precision(precision, int8=int8), options.image_shape(shape)
    network = BenchedNetwork.find(run, model)
    out = console(json_output=json_output)
    network.tell(out)
    budget = network.budget()
    if limits.active and target is None and not all_targets and budget and budget.target:
        target = budget.target.name
    predicts = target is not None or all_targets
    measures = device is not None or not predicts
    if not predicts and (limits.active or partial or (confidence and not budget)):
        raise ConfigError(
            "limits, --confidence and --partial are of a prediction; add --target or --all-targets"
        )
    if not measures and (batch, threads) != (None, None):
        raise ConfigError("--batch and --threads are of a measurement; add --device cpu")
    if predicts and budget:
        limits = network.limits(out, limits, budget)
    with network.lock():
        rows = (
            network.predict(target, limits, chosen, image=image, partial=partial)
            if predicts
            else []
        )
        value: dict[str, Any] = {}
        measured = None
        if measures:
            measured = network.measure(
                out,
                chosen,
                batch=1 if batch is None else batch,
                threads=_threads_of_host(rows) if threads is None else threads,
                shape=image,
                profile=profile,
            )
            value = {"model_path": str(network.file(chosen)), **measured.to_dict()}
        if predicts:
            value |= network.compare(out, rows, limits, measured)
        elif device is None:
            value |= network.verdict(out, measured, confidence)
        value["mlperf_tiny"] = network.score(out)
        network.rewrite_card()
    if json_output:
        print_json(value)


def start_bench(out: Console, path: Path | None, model: Path | None) -> dict[str, Any]:
    """Measure, tell about it on `out`, and give the JSON summary; a run's goes to bench.json."""
    network = BenchedNetwork.find(path, model)
    network.tell(out)
    with network.lock():
        measured = network.measure(out)
        value = {
            "model_path": str(network.model),
            **measured.to_dict(),
            **network.verdict(out, measured),
            "mlperf_tiny": network.score(out),
        }
        network.rewrite_card()
    return value


def _threads_of_host(rows: "list[TargetReport]") -> int | None:
    """To be comparable with its prediction; another device's threads are not this machine's."""
    from sdedge.deploy.targets.target import HOST

    return next((row.target.threads for row in rows if row.target.name == HOST), None)


def _precision(text: str | None, *, int8: bool) -> "Precision | None":
    if text is not None and text not in PRECISIONS:
        raise ConfigError(f"--precision {text!r} is none of {', '.join(PRECISIONS)}")
    if int8 and text == "fp32":
        raise ConfigError("--int8 and --precision fp32 exclude each other; leave out one")
    return cast("Precision | None", "int8" if int8 else text)
