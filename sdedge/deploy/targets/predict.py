"""Predicted latency of a network on a device, with the error that such predictions had.

Every operator costs a launch, its multiply-accumulates at the rate of its kind, and the bytes it
reads and writes: a roofline whose parts are added, because the larger part alone predicted no
better (`benchmarks/predict.py`). Runtimes compute channels in blocks, so a width of 12 may cost
what 16 does; and where channels do not fit their fast kernels they are much slower.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sdedge.deploy.ir.graph import BYTES, Graph, Operator, Precision
from sdedge.deploy.targets.target import (
    CONVOLUTIONS,
    FLOAT,
    GROUPED,
    MEMORY,
    NARROW,
    PIXEL,
    RUN,
    UNALIGNED,
    Rate,
    Rates,
    Target,
)
from sdedge.errors import TargetError


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Latency of one image; measured latency lies from `low_ms` to `high_ms` with `coverage`."""

    target: str
    runtime: str
    threads: int
    precision: Precision
    latency_ms: float
    low_ms: float
    high_ms: float
    coverage: float
    by_kind_ms: Mapping[str, float]  # adds up to latency_ms
    energy_mj: float | None
    partial: bool  # operators without a cost model were left out


def predict(
    graph: Graph, target: Target, *, partial: bool = False, coverage: float | None = None
) -> Prediction:
    """Predict the latency of `graph` on `target`, with the interval of `coverage`.

    Without `coverage`, that of the profile. Raises TargetError when the target does not run the
    graph's precision and, unless `partial`, when the graph has operators that have no cost model,
    which it names and counts.
    """
    precision = graph.precision
    if precision not in target.rates:
        raise TargetError(
            f"{target.name} ({target.runtime}) runs {' and '.join(target.precisions)}, "
            f"not {precision}: " + ("export with --int8" if precision == "fp32" else "take fp32")
        )
    if graph.unknown and not partial:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(graph.unknown.items()))
        raise TargetError(
            f"no cost model for {counted}: replace them, or predict the rest with --partial"
        )
    rates = target.rates[precision]
    by_kind: dict[str, float] = defaultdict(float)
    by_kind[RUN] = rates.ms(("overhead_us", RUN), 1)
    for operator in graph.operators:
        if operator.unpriced is None:
            by_kind[operator.kind] += operator_ms(operator, graph, target)
    latency = sum(by_kind.values())
    error = rates.error if coverage is None else rates.error.at(coverage)
    return Prediction(
        target=target.name,
        runtime=target.runtime,
        threads=target.threads,
        precision=precision,
        latency_ms=latency,
        low_ms=latency * error.low,
        high_ms=latency * error.high,
        coverage=error.coverage,
        by_kind_ms=dict(by_kind),
        energy_mj=None if target.power_mw is None else latency * target.power_mw / 1e3,
        partial=bool(graph.unknown),
    )


def operator_ms(operator: Operator, graph: Graph, target: Target) -> float:
    """What one operator of `graph` adds to its latency."""
    rates = target.rates[graph.precision]
    work = operator_work(operator, graph, rates)
    return sum(rates.ms(rate, amount) for rate, amount in work.items())


def operator_work(operator: Operator, graph: Graph, layout: Rates) -> dict[Rate, float]:
    """Launches, MACs and bytes that an operator of `graph` needs, by the rate that they go at."""
    kind, block = operator.kind, layout.channel_block
    shapes = [graph.values[name].shape for name in (*operator.inputs, *operator.outputs)]
    channels = [shape[1] for shape in shapes if len(shape) > 1]
    read, written = float(operator.input_bytes), float(operator.output_bytes)
    work: dict[Rate, float] = {("overhead_us", "node"): 1.0}
    moving: str = kind
    if kind in CONVOLUTIONS:
        c_in, c_out = channels[0], channels[-1]
        macs = float(operator.macs)
        weights = (operator.weight_bytes - operator.bias_bytes) / BYTES[operator.precision]
        rest = c_in % layout.channel_multiple
        if kind == "dense" and weights / c_out < c_in:  # its group's alone are read
            work["gmacs_per_s", f"pointwise {GROUPED}"] = macs
        elif kind != "depthwise" and c_in < block:
            out = _padding(c_out, block)
            work["gmacs_per_s", f"{kind} {NARROW}"] = macs * out
            written *= out
        elif rest and not (layout.rest_alone and c_in > rest):
            work["gmacs_per_s", f"{kind} {UNALIGNED}"] = macs
        else:
            slow = macs * rest / c_in
            into, out = _padding(c_in - rest, block), _padding(c_out, block)
            work["gmacs_per_s", kind] = (macs - slow) * into * (1 if kind == "depthwise" else out)
            if rest:
                work["gmacs_per_s", f"{kind} {UNALIGNED}"] = slow
            else:
                read, written = read * into, written * out
        work["overhead_us", PIXEL] = float(math.prod(shapes[-1][2:]))
    elif kind == "linear":
        work["gmacs_per_s", kind] = operator.macs
    elif operator.precision != graph.precision:
        moving = f"{kind} {FLOAT}"
    elif any(c % block for c in channels):
        moving = f"{kind} {UNALIGNED}"
    moved = read + written + operator.weight_bytes
    if moved:
        work["gbytes_per_s", moving] = moved
    if layout.cache_bytes is not None and moved > layout.cache_bytes:
        work["gbytes_per_s", MEMORY] = moved - layout.cache_bytes
    return work


def _padding(channels: int, block: int) -> float:
    return -(-channels // block) * block / channels
