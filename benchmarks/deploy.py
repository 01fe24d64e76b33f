"""The files of one trained network, naive against ours: check, then size, accuracy and latency.

    python benchmarks/deploy.py [--run DIR] [--dataset NAME] [--limit N] [--seconds S] [--json]

`naive_fp32` is torch.onnx.export of the network as it is, `naive_int8` what quantize_static of ONNX
Runtime makes of that with its defaults; `fp32` and `int8` are what `sdedge export --int8` writes.
All are calibrated on the same training images. An fp32 file must give torch's scores, and an int8
file fp32's class for most test images, or nothing is timed. The four then run in turns of nine
runs, one image a run, on one thread.
"""

import argparse
import contextlib
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from rich.console import Console

from sdedge.cli.output import console, print_json, table
from sdedge.cli.render.figures import percent
from sdedge.data.dataset import Dataset
from sdedge.data.pipeline import Batches
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.onnx.verify import checked_model, verify_onnx
from sdedge.deploy.formats.onnx.write import BATCH
from sdedge.deploy.formats.scores import CPU, class_scores, first_rows, model_input
from sdedge.deploy.int8.images import choose_images
from sdedge.deploy.int8.search import CALIBRATION_IMAGES, quantize_model
from sdedge.deploy.ir.program import INPUT, OUTPUT
from sdedge.deploy.ir.trace import trace_model
from sdedge.deploy.latency.compare import Latency, compare_latency
from sdedge.environment import describe_environment
from sdedge.errors import BenchError, SdedgeError
from sdedge.pipeline.images import open_trained
from sdedge.run import RunDir
from sdedge.space.counting import count_network
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription

ROWS = ("naive_fp32", "fp32", "naive_int8", "int8")
THREADS = 1
LEAST_AGREEMENT = 0.8  # of an int8 file with fp32, as a share of the test images


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Training images for quantize_static, one a time."""

    def __init__(self, inputs: Iterator[NDArray[np.float32]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        x = next(self._inputs, None)
        return None if x is None else {INPUT: x}


def naive_fp32(network: Network, image_size: int) -> bytes:
    """What torch.onnx.export makes of the network as it is."""
    image = torch.zeros(1, 3, image_size, image_size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own future
        path = Path(folder) / "naive.onnx"
        torch.onnx.export(
            network.eval(),
            (image,),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"x": {0: torch.export.Dim(BATCH)}},
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()


def naive_int8(model: bytes, description: NetworkDescription, data: Dataset) -> bytes:
    """What quantize_static makes of a model with its defaults."""
    calibration, _ = choose_images(data, CALIBRATION_IMAGES)
    to_input = model_input(description, normalize=False)
    batches = Batches(data.train, calibration, 1, CPU).ordered()
    inputs = (to_input(images).contiguous().numpy() for images, _ in batches)
    with tempfile.TemporaryDirectory() as folder:
        exact, rounded = Path(folder) / "naive.onnx", Path(folder) / "naive.int8.onnx"
        exact.write_bytes(model)
        quantize_static(exact, rounded, _Images(inputs))
        return rounded.read_bytes()


def checked_accuracies(
    models: Mapping[str, bytes],
    network: Network,
    description: NetworkDescription,
    data: Dataset,
    limit: int | None,
) -> dict[str, float]:
    """Accuracy of each model on the test images; SdedgeError if one is wrong."""
    to_input = model_input(description, normalize=False)
    rows = first_rows(data.test, limit)
    labels = data.test.labels[rows]
    verify_onnx(models["naive_fp32"], network, description, data.test, limit=limit)
    scores = class_scores([*map(load, models.values())], data.test, rows, to_input)
    classes = {name: of.argmax(axis=1) for name, of in zip(models, scores, strict=True)}
    for name in ("naive_int8", "int8"):
        agreement = float((classes[name] == classes["fp32"]).mean())
        if agreement < LEAST_AGREEMENT:
            raise BenchError(
                f"WRONG: {name} gives fp32's class for {percent(agreement)} of the test images "
                f"(at least {percent(LEAST_AGREEMENT)}); nothing was timed"
            )
    return {name: float((predicted == labels).mean()) for name, predicted in classes.items()}


def measure(
    network: Network,
    description: NetworkDescription,
    data: Dataset,
    *,
    limit: int | None,
    seconds: float,
) -> dict[str, Any]:
    """The four files, checked; then a row for each, and what they are of."""
    model = trace_model(network, description)
    (ours,) = ONNX.content(model)
    verify_onnx(ours, network, description, data.test, limit=limit)
    quantized = quantize_model(model, data, ours, calibration_images=CALIBRATION_IMAGES)
    naive = naive_fp32(network, description.image_size)
    models = {
        "naive_fp32": naive,
        "fp32": ours,
        "naive_int8": naive_int8(naive, description, data),
        "int8": quantized.data,
    }
    accuracies = checked_accuracies(models, network, description, data, limit)
    latencies = compare_latency(
        models, description.image_size, threads=THREADS, max_seconds=seconds
    )
    rows = {name: _row(model, accuracies[name], latencies[name]) for name, model in models.items()}
    return {
        **rows,
        "parameters": count_network(network, description.image_size).params,
        "images": len(data.test.labels[:limit]),
        "int8_method": quantized.best.method,
        **describe_environment(CPU),
        "threads": THREADS,  # of a run; the environment's are torch's
    }


def _row(model: bytes, accuracy: float, latency: Latency) -> dict[str, Any]:
    nodes = len(checked_model(model).graph.node)
    return {"nodes": nodes, "bytes": len(model), "accuracy": accuracy, **asdict(latency)}


def show(out: Console, summary: dict[str, Any]) -> None:
    """A table of the four, and how it came about."""
    forms = {name: summary[name] for name in ROWS}
    rows = [
        (
            name,
            row["nodes"],
            f"{row['bytes']:,}",
            f"{row['bytes'] / summary['parameters']:.3f}",
            percent(row["accuracy"]),
            f"{row['latency_p50_ms']:.3f}",
            f"{row['latency_p99_ms']:.3f}",
            f"{row['latency_min_ms']:.3f}",
        )
        for name, row in forms.items()
    ]
    columns = ("", "nodes", "bytes", "a weight", "accuracy", "p50 ms", "p99 ms", "least ms")
    out.print(table("", columns, rows), soft_wrap=False)
    if not all(row["settled"] for row in forms.values()):
        out.print(
            "[yellow]Not all medians settled: other work is using the CPU. Measure again when it "
            "is idle, or longer, with --seconds.[/yellow]"
        )
    out.print(
        f"[dim]{summary['parameters']:,} parameters; accuracy in ONNX Runtime on "
        f"{summary['images']:,} test images; one image a run, {forms['int8']['runs']:,} runs each "
        f"in turns, {summary['threads']} thread; {summary['device_name']}, onnxruntime "
        f"{summary['packages']['onnxruntime']}, torch {summary['packages']['torch']}, "
        f"commit {summary['commit']}[/dim]"
    )


def main(arguments: list[str]) -> int:
    """Check, measure, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--run", type=Path, metavar="DIR", help="default: the newest below runs/")
    parser.add_argument("--dataset", help="where the images are now; default: as in training")
    parser.add_argument("--limit", type=int, metavar="N", help="test images (all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest measurement (60)")
    options = parser.parse_args(arguments)
    out = console(json_output=options.json)
    try:
        run = RunDir.open(options.run)
        network, description, data, _ = open_trained(run, options.dataset)
        with contextlib.redirect_stdout(sys.stderr):  # the exporters talk
            summary = measure(
                network, description, data, limit=options.limit, seconds=options.seconds
            )
    except SdedgeError as error:
        print(error, file=sys.stderr)
        return 1
    show(out, summary)
    if options.json:
        print_json({"run": str(run.path), **summary})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
