"""Latency and memory of an exported network, measured here; a run keeps them in bench.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from sdedge.deploy.fit.check import Limits, LimitSettings
from sdedge.deploy.fit.evaluate import TargetReport, evaluate_targets
from sdedge.deploy.fit.mlperf import Score
from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.latency import profiler
from sdedge.deploy.targets.target import HOST
from sdedge.errors import ConfigError
from sdedge.events import Notice, Reporter, silent
from sdedge.pipeline.exported import ExportedNetwork, ModelLike
from sdedge.pipeline.predict import (
    TargetLike,
    check_precision,
    keep_reports,
    limits_or_budget,
    load_targets,
    reports_to_dict,
)
from sdedge.pipeline.verdict import Verdict, check_budget


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """A network as measured on this machine.

    `predictions` are of the targets that were asked for. `verdict` is on the budget of the run,
    and `scores` are those of MLPerf Tiny, for CIFAR-10's classes.
    """

    run: Path | None  # None: the network is a file outside of any run
    model: Path
    measurement: profiler.Measurement
    predictions: tuple[TargetReport, ...] = ()
    verdict: Verdict | None = None
    scores: tuple[Score, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "model_path": str(self.model),
            **self.measurement.to_dict(),
            **(reports_to_dict(self.predictions) if self.predictions else {}),
            **({"budget": self.verdict.to_dict()} if self.verdict else {}),
            "mlperf_tiny": [score.to_dict() for score in self.scores],
        }


def bench(
    model: ModelLike = None,
    *,
    precision: Precision | None = None,
    batch: int = 1,
    threads: int | None = None,
    shape: Sequence[int] | None = None,
    profile: bool = True,
    target: TargetLike | Sequence[TargetLike] | None = None,
    partial: bool = False,
    verdict: bool = True,
    reporter: Reporter = silent,
    **limits: Unpack[LimitSettings],
) -> BenchResult:
    """Measure latency (ms) and memory (bytes) of an exported network on this machine's CPU.

    `model` and `shape` are those of `predict_latency`; of a run, `precision` "int8" measures the
    quantised file. `batch` is the images a run, and `threads` None takes the physical cores. With
    `target` the predictions are made, too, and those for this machine get what was measured. With
    `verdict` a run is held against its budget, if it has one. `limits` and `partial` are of the
    predictions; a `confidence` alone is of the verdict, too. A run keeps all of it, and its model
    card gets it.

    Raises BenchError for a model that does not load or run, ConfigError for settings that are out
    of range or of a prediction that was not asked for, and what `predict_latency` does.
    """
    fit_limits, targets = Limits(**limits), () if target is None else load_targets(target)
    check_precision(precision)
    network = ExportedNetwork.find(model, shape)
    network.announce(reporter)
    budget = network.budget()
    if not targets and (fit_limits.active or partial or (fit_limits.confidence and not budget)):
        raise ConfigError(
            "limits, --confidence and --partial are of a prediction; add --target or --all-targets"
        )
    file = network.file(precision)
    with network.lock():
        outcome = predictions = None
        variants = network.variants if targets or (verdict and budget) else {}
        if targets:
            fit_limits = limits_or_budget(fit_limits, budget, reporter)
            predictions = evaluate_targets(
                variants, targets, fit_limits, precision=precision, partial=partial
            )
        if threads is None:  # to be comparable; another device's threads are not this machine's
            threads = next((t.threads for t in targets if t.name == HOST), None)
        reporter(Notice("measuring"))
        measurement = profiler.run_bench(
            file, batch=batch, threads=threads, shape=shape, profile=profile
        )
        network.keep_measurement(measurement, precision)
        if predictions:
            predictions = keep_reports(network, predictions, measurement)
        if verdict and network.run:
            outcome = check_budget(
                network.run, variants, measurement=measurement, confidence=fit_limits.confidence
            )
        scores = network.scores()
        network.rewrite_card()
    return BenchResult(
        run=network.folder,
        model=file,
        measurement=measurement,
        predictions=predictions or (),
        verdict=outcome,
        scores=scores,
    )
