"""Rates from latencies: the ones under which known networks would take as long as they did.

A latency is a sum of amounts of work, each divided by its rate. The rates are fitted to the
logarithm of the latencies by least squares, starting from assumed rates: all may move together
freely, for a device is fast or slow as a whole, but each for itself only as far as the latencies
ask for it. So a few latencies set the speed of a device, and many set every rate.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sdedge.deploy.ir.graph import Graph
from sdedge.deploy.targets.predict import operator_work
from sdedge.deploy.targets.target import OPTIONAL_RATES, RATES, RUN, Rate, Rates

MEASUREMENT_ERROR = 0.1  # of a latency, relative, as far as the model can explain it
NETWORK_WEIGHT = 20.0  # of a whole network against a chain of one operator
COMMON_SPREAD = 3.0  # of the logarithm of all rates together
_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A latency and the graph that took it."""

    name: str
    graph: Graph
    latency_ms: float
    network: bool = True  # not a chain of one operator


def predicted_ms(sample: Sample, rates: Rates) -> float:
    """What `rates` say about a sample."""
    work = _work(sample, rates)
    return sum(rates.ms(rate, amount) for rate, amount in work.items())


def fit_rates(samples: Sequence[Sample], assumed: Rates, *, spread: float) -> tuple[Rates, float]:
    """The rates that fit best, and how badly they do (negative log posterior, up to a constant).

    `spread` is how far the logarithm of one rate may lie from the assumed one: 1 is a factor of
    three either way. Layout and error band stay those of `assumed`.
    """
    works = [_work(sample, assumed) for sample in samples]
    names = _names(works)
    start = np.log([assumed.ms(name, 1.0) for name in names])
    amounts = np.array([[work.get(name, 0.0) for name in names] for work in works])
    measured = np.log([sample.latency_ms for sample in samples])
    weights = np.array([NETWORK_WEIGHT if sample.network else 1.0 for sample in samples])
    weights = weights / weights.max() / MEASUREMENT_ERROR**2
    count = len(names)
    # Launching depends on a device's speed less than computing does.
    common = np.array([0.5 if group == "overhead_us" else 1.0 for group, _ in names])
    covariance = spread**2 * np.eye(count) + COMMON_SPREAD**2 * np.outer(common, common)
    costs, loss = _minimise(
        amounts, measured, weights, start, np.linalg.inv(covariance).astype(np.float64)
    )
    fitted: dict[str, dict[str, float]] = {group: {} for group in RATES}
    for (group, name), cost in zip(names, np.exp(costs), strict=True):
        fitted[group][name] = float(cost * 1e3 if group == "overhead_us" else 1e-6 / cost)
    rates = replace(
        assumed,
        overhead_us=fitted["overhead_us"],
        gmacs_per_s=fitted["gmacs_per_s"],
        gbytes_per_s=fitted["gbytes_per_s"],
    )
    return rates, loss


def held_out_ratios(
    samples: Sequence[Sample],
    assumed: Rates,
    *,
    spread: float,
    folds: int | None = None,
) -> dict[str, float]:
    """Measured / predicted latency of each network, by rates fitted without it.

    `folds` None leaves out one at a time, else every k-th, of k = `folds`, at a time.
    """
    networks = [sample.name for sample in samples if sample.network]
    count = min(folds or len(networks), len(networks))
    ratios = {}
    for fold in range(count):
        out = set(networks[fold::count])
        rest = [sample for sample in samples if sample.name not in out]
        rates, _ = fit_rates(rest, assumed, spread=spread)
        for sample in samples:
            if sample.name in out:
                ratio = sample.latency_ms / predicted_ms(sample, rates)
                ratios[sample.name] = ratio
    return ratios


def _work(sample: Sample, layout: Rates) -> dict[Rate, float]:
    total: dict[Rate, float] = defaultdict(float)
    total["overhead_us", RUN] = 1.0
    for operator in sample.graph.operators:
        for rate, amount in operator_work(operator, sample.graph, layout).items():
            total[rate] += amount
    return total


def _names(works: Sequence[dict[Rate, float]]) -> list[Rate]:
    """Every rate that a profile has to have, and the others that there is work for."""
    used = {name for work in works for name in work}
    return [
        (group, name)
        for group, required in RATES.items()
        for name in (*required, *OPTIONAL_RATES.get(group, ()))
        if name in required or (group, name) in used
    ]


def _minimise(
    amounts: NDArray[np.float64],  # (samples, rates)
    measured: NDArray[np.float64],  # logarithms of the latencies
    weights: NDArray[np.float64],  # of the samples
    start: NDArray[np.float64],  # logarithms of the assumed costs
    precision: NDArray[np.float64],  # (rates, rates), of the deviation from them
) -> tuple[NDArray[np.float64], float]:
    """Levenberg-Marquardt on the logarithms of the costs."""

    def loss(costs: NDArray[np.float64]) -> float:
        error = np.log(amounts @ np.exp(costs)) - measured
        away = costs - start
        return float(weights @ error**2 + away @ precision @ away)

    costs, damping = start, 1.0
    best = loss(costs)
    for _ in range(_STEPS):
        parts = amounts * np.exp(costs)
        total = parts.sum(axis=1)
        slope = parts / total[:, None]
        error = np.log(total) - measured
        gradient = slope.T @ (weights * error) + precision @ (costs - start)
        curvature = (slope.T * weights) @ slope + precision
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        tried = costs - np.clip(step, -1, 1)
        reached = loss(tried)
        if reached > best:
            damping *= 4
            continue
        settled = best - reached < 1e-9 * best
        costs, best, damping = tried, reached, damping / 3
        if settled:
            break
    return costs, best
