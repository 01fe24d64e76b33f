"""Predicted latency held against measured: networks on this machine, anchors on the boards.

    python benchmarks/predict.py [--networks 100] [--rounds 10] [--json] [--plot PATH]

This machine is calibrated on the micro-benchmarks, as `sdedge targets calibrate host` does, and
then predicts networks of random cells, widths and depths that the calibration never saw. All are
measured on one thread in one process, in turns: in each round every model runs a few times, and
its latency is the median of its quietest round. What counts is the thread's own time: on an idle
machine that is the latency (`wall_ratio` says how far it is from it), and on a busy one it is what
the latency would be, but for caches that others fill. The boards' anchors are left out one at a
time (boards.py). Results go to benchmarks/results/prediction-cpu.json.
"""

import argparse
import functools
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import onnxruntime as ort
import torch
from boards import leave_one_out
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from sdedge.cli.output import console, print_json, table
from sdedge.deploy.board.calibrate import measured_rates, micro_samples
from sdedge.deploy.board.micro import CLASSES, int8_form, micro_models
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.formats.onnx.write import to_model
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.latency.bench import random_image
from sdedge.deploy.targets.band import error_band
from sdedge.deploy.targets.rates import Sample, predicted_ms
from sdedge.environment import describe_environment
from sdedge.files import write_json
from sdedge.space.darts.cell import random_genotype
from sdedge.space.saved import NetworkDescription

RESULTS = Path(__file__).with_name("results") / "prediction-cpu.json"
SEED = 2026
ROUND_SECONDS = 0.005  # of a model in a round, and three runs at least
COLOURS = {"fp32": "#1b6ca8", "int8": "#c8553d"}


def random_networks(count: int) -> dict[Precision, dict[str, bytes]]:
    """ONNX files of untrained networks: 4 to 48 channels, 3 to 14 cells, 32 to 64 pixels."""
    rng = random.Random(SEED)
    models: dict[Precision, dict[str, bytes]] = {precision: {} for precision in PRECISIONS}
    for index in range(count):
        channels, cells = rng.randrange(4, 50, 2), rng.randint(3, 14)
        size = rng.choice((32, 32, 48, 64))
        description = NetworkDescription(
            genotype=random_genotype(rng),
            channels=channels,
            cells=cells,
            stem="cifar",
            classes=tuple(map(str, range(CLASSES))),
            image_size=size,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            dataset="",
        )
        program = to_program(description.build().eval(), description)
        for precision, form in (("fp32", program), ("int8", int8_form(program))):
            name = f"random{index}-c{channels}-n{cells}-h{size}"
            models[precision][name] = to_model(form, size, CLASSES).SerializeToString()
    return models


def measure(models: Mapping[str, bytes], rounds: int) -> tuple[dict[str, float], float]:
    """The latency in ms of each model, all in turns on one thread.

    Also the median ratio of time by the clock on the wall to that of the thread.
    """
    runs = {name: _runner(model) for name, model in models.items()}
    quietest = dict.fromkeys(runs, float("inf"))
    ratios = []
    gc.disable()  # a collection inside a timed run would count as the model's time
    for _ in range(rounds):
        for name, run in runs.items():
            own, wall = _round_ms(run)
            quietest[name] = min(quietest[name], own)
            ratios.append(wall / own)
    gc.enable()
    return quietest, statistics.median(ratios)


def _runner(model: bytes) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (node,) = session.get_inputs()
    image = random_image([1, *node.shape[1:]], np.float32)
    run = functools.partial(session.run, None, {node.name: image})
    for _ in range(3):  # onnxruntime plans and allocates its memory in these
        run()
    return run


def _round_ms(run: Callable[[], object]) -> tuple[float, float]:
    """The median of a few runs, after one that fills the caches: the thread's time, the wall's."""
    run()
    own: list[float] = []
    wall: list[float] = []
    end = time.perf_counter() + ROUND_SECONDS
    while len(own) < 3 or time.perf_counter() < end:
        start, start_own = time.perf_counter(), time.thread_time()
        run()
        own.append(time.thread_time() - start_own)
        wall.append(time.perf_counter() - start)
    return 1e3 * statistics.median(own), 1e3 * statistics.median(wall)


def validate(precision: Precision, networks: Mapping[str, bytes], rounds: int) -> dict[str, Any]:
    """Calibrate, predict, and compare; the summary with a row for each network."""
    suffix = "-int8.onnx"
    micro = {n: m for n, m in micro_models().items() if n.endswith(suffix) == (precision == "int8")}
    latencies, wall_ratio = measure({**micro, **networks}, rounds)
    calibration = micro_samples(precision, latencies)
    rates = measured_rates(calibration)
    rows = []
    for name, model in networks.items():
        sample = Sample(name=name, graph=read_graph(model), latency_ms=latencies[name])
        rows.append(
            {
                "network": name,
                "measured_ms": sample.latency_ms,
                "predicted_ms": predicted_ms(sample, rates),
                "macs": sample.graph.macs,
            }
        )
    return {
        **accuracy(rows),
        "interval": [rates.error.low, rates.error.high],
        "wall_ratio": wall_ratio,
        "micro_benchmarks": len(micro),
        "rates": asdict(rates),
        "rows": rows,
        "calibration": {sample.name: sample.latency_ms for sample in calibration},
    }


def accuracy(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Errors relative to what was measured, and the rank correlation (Spearman)."""
    predicted = np.array([row["predicted_ms"] for row in rows])
    measured = np.array([row["measured_ms"] for row in rows])
    errors = np.abs(predicted / measured - 1)
    ranks = [values.argsort().argsort() for values in (predicted, measured)]
    return {
        "networks": len(rows),
        "median_error": float(np.median(errors)),
        "p90_error": float(np.percentile(errors, 90)),
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]),
        "median_ratio": float(np.median(predicted / measured)),
    }


def coverage(summary: Mapping[str, Any]) -> float:
    """The share of networks whose measured latency lies in the interval printed with it."""
    low, high = summary["interval"]
    ratios = [row["measured_ms"] / row["predicted_ms"] for row in summary["rows"]]
    return sum(low <= ratio <= high for ratio in ratios) / len(ratios)


def boards() -> dict[str, Any]:
    """Every anchor predicted without it, and the accuracy by family and precision."""
    rows = list(leave_one_out())
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['family']} {row['precision']}", []).append(row)
    return {"groups": {name: accuracy(members) for name, members in groups.items()}, "rows": rows}


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Measured against predicted latency, both axes logarithmic."""
    matplotlib.rcParams["svg.hashsalt"] = "sdedge"
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    here, there = figure.subplots(1, 2)
    for precision, group in summary["host"].items():
        error, inside = group["median_error"], group["coverage"]
        label = f"{precision}: median error {error:.0%}, {inside:.0%} in the band"
        _scatter(here, group["rows"], COLOURS[precision], label)
        _band(here, group, COLOURS[precision])
    here.set_title(f"this machine, {group['networks']} random networks")
    for precision, colour in COLOURS.items():
        rows = [row for row in summary["boards"]["rows"] if row["precision"] == precision]
        band = error_band([row["measured_ms"] / row["predicted_ms"] for row in rows])
        label = f"{precision}: median error {accuracy(rows)['median_error']:.0%}"
        _scatter(there, rows, colour, label)
        _band(there, {"rows": rows, "interval": [band.low, band.high]}, colour)
    there.set_title("boards, published latencies left out in turn")
    for axes in (here, there):
        axes.set(xscale="log", yscale="log", xlabel="predicted, ms", ylabel="measured, ms")
        axes.axline((1, 1), (10, 10), color="0.3", linewidth=0.8)
        axes.legend(loc="upper left", fontsize="small", frameon=False)
        axes.grid(color="0.9", linewidth=0.5)
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _scatter(axes: Axes, rows: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    predicted = [row["predicted_ms"] for row in rows]
    measured = [row["measured_ms"] for row in rows]
    axes.scatter(predicted, measured, s=14, color=colour, alpha=0.7, linewidths=0, label=label)


def _band(axes: Axes, group: Mapping[str, Any], colour: str) -> None:
    """The interval that is printed with a prediction."""
    predicted = [row["predicted_ms"] for row in group["rows"]]
    ends = np.array([min(predicted) / 1.3, max(predicted) * 1.3])
    low, high = group["interval"]
    axes.fill_between(ends, ends * low, ends * high, color=colour, alpha=0.1, linewidth=0)


def report(out: Console, summary: Mapping[str, Any]) -> None:
    """The figures, for people."""
    groups = [(f"this machine, {name}", group) for name, group in summary["host"].items()]
    groups += [(f"left out: {name}", group) for name, group in summary["boards"]["groups"].items()]
    rows = [
        (
            name,
            group["networks"],
            f"{group['median_error']:.1%}",
            f"{group['p90_error']:.1%}",
            f"{group['rank_correlation']:.3f}",
            f"{group['coverage']:.0%}" if "coverage" in group else "",
        )
        for name, group in groups
    ]
    columns = ("", "count", "median error", "p90 error", "rank", "in interval")
    out.print(table("predicted against measured latency", columns, rows), soft_wrap=False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Predicted latency held against measured.")
    parser.add_argument("--networks", type=int, default=100, help="random networks (100)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of measuring (10)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--plot", type=Path, help="draw them here, .svg or .png")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    options = parser.parse_args(arguments)
    out = console(json_output=options.json)
    torch.set_num_threads(1)
    start = time.perf_counter()
    networks = random_networks(options.networks)
    host = {p: validate(p, networks[p], options.rounds) for p in PRECISIONS}
    for group in host.values():
        group["coverage"] = coverage(group)
    summary = {
        "environment": describe_environment(torch.device("cpu")),
        "onnxruntime": ort.__version__,
        "seconds": time.perf_counter() - start,
        "rounds": options.rounds,
        "host": host,
        "boards": boards(),
    }
    report(out, summary)
    write_json(options.out, summary)
    if options.plot is not None:
        draw(summary, options.plot)
    if options.json:
        print_json(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
