"""Latency of several models in turns, so that what else the machine does falls on all alike."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from sdedge.deploy.latency.bench import ORT_ERRORS, error_text, random_image, settled
from sdedge.errors import BenchError

_WARM_UP_TURNS = 3
_TURN_RUNS = 9  # timed ones; one more before them finds another model's data in the caches
_CHECK_EVERY = 10  # turns


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of one model, one image a run."""

    latency_p50_ms: float
    latency_p99_ms: float
    latency_min_ms: float
    runs: int
    settled: bool  # whether the median has settled


def compare_latency(
    models: Mapping[str, bytes],
    image_size: int,
    *,
    threads: int = 1,
    min_turns: int = 40,
    max_seconds: float = 20.0,
) -> dict[str, Latency]:
    """Time models of sdedge, each in a session of its own, a few runs each in turn.

    Until the medians of all have settled, but for `min_turns` at least and `max_seconds` at most.
    Raises BenchError for a model that does not load or run.
    """
    shape = [1, 3, image_size, image_size]
    runs = {name: _Run(name, model, shape, threads) for name, model in models.items()}
    collecting = gc.isenabled()
    gc.disable()  # a collection inside a timed run would count as the model's time
    try:
        for run in runs.values():
            for _ in range(_WARM_UP_TURNS):
                run.turn()
            run.times_ns.clear()
        end = time.perf_counter() + max_seconds
        turns, all_settled = 0, False
        while not all_settled and time.perf_counter() < end:
            for run in runs.values():
                run.turn()
            turns += 1
            if turns >= min_turns and turns % _CHECK_EVERY == 0:
                all_settled = all(run.settled for run in runs.values())
    finally:
        if collecting:
            gc.enable()
    return {name: run.latency() for name, run in runs.items()}


class _Run:
    def __init__(self, name: str, model: bytes, shape: list[int], threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise BenchError(f"{name} does not load: {error_text(error)}") from error
        self._name = name
        (image,) = self._session.get_inputs()
        self._feed: dict[str, Any] = {image.name: random_image(shape, np.float32)}
        self.times_ns: list[int] = []

    def turn(self) -> None:
        try:
            self._session.run(None, self._feed)
            for _ in range(_TURN_RUNS):
                start = time.perf_counter_ns()
                self._session.run(None, self._feed)
                self.times_ns.append(time.perf_counter_ns() - start)
        except ORT_ERRORS as error:
            raise BenchError(f"{self._name} does not run: {error_text(error)}") from error

    @property
    def settled(self) -> bool:
        return settled(np.array(self.times_ns))

    def latency(self) -> Latency:
        minimum, p50, p99 = np.percentile(np.array(self.times_ns) / 1e6, (0, 50, 99))
        return Latency(
            latency_p50_ms=float(p50),
            latency_p99_ms=float(p99),
            latency_min_ms=float(minimum),
            runs=len(self.times_ns),
            settled=self.settled,
        )
