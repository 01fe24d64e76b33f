"""The exported network of a run against the run's budget; kept in fit.json."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.check import Fit, Limits, check_fit
from sdedge.deploy.fit.evaluate import Variant, measured_p50, variants_of
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.latency import profiler
from sdedge.deploy.targets.target import HOST, Target
from sdedge.files import write_json
from sdedge.run import RunDir, read_json


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the exported network of a run meets its budget.

    Where the target is this machine, `measured_p50_ms` is what was held against the limit on
    latency; elsewhere it is None, and the prediction in `fit` was.
    """

    variant: Variant
    precision: Precision
    target: Target | None
    limits: Limits
    measured_p50_ms: float | None
    fit: Fit

    @property
    def fits(self) -> bool:
        """Whether every limit is met."""
        return self.fit.fits

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as in fit.json."""
        return {
            "model": self.variant.file.name,
            "precision": self.precision,
            "if_quantised": self.variant.if_quantised,
            "target": self.target and self.target.name,
            "limits": self.limits.active,
            "confidence": self.limits.confidence,
            "measured_p50_ms": self.measured_p50_ms,
            **self.fit.to_dict(),
        }


def stored_requirements(run: RunDir) -> Requirements | None:
    """The budget of `run`, if it has one; RunError or TargetError where it is damaged."""
    if not run.budget.exists():
        return None
    return Requirements.from_dict(read_json(run.budget), source=str(run.budget))


def check_budget(
    run: RunDir,
    variants: Mapping[Precision, Variant] | None = None,
    *,
    measurement: profiler.Measurement | None = None,
    confidence: float | None = None,
) -> Verdict | None:
    """Hold the exported network of `run` against its budget and write fit.json.

    None for a run without a budget. `variants` None reads the files of the run. Where the target
    is this machine the latency is measured, unless `measurement` is of the same file and threads;
    elsewhere it is predicted, and `confidence` goes before the budget's own. Without a quantised
    file, the verdict on an int8 budget is of the network as it would be. Raises RunError for a
    damaged budget, ExportError for a damaged model, and what `check_fit` does.
    """
    requirements = stored_requirements(run)
    if requirements is None:
        return None
    target, limits = requirements.target, requirements.limits
    if confidence is not None:
        limits = replace(limits, confidence=confidence)
    variant = (variants or variants_of(*Artifact.of_run(run)))[requirements.precision]
    fit = check_fit(variant.graph, target, limits, memory=variant.memory)
    measured_ms = None
    if target and target.name == HOST and not variant.if_quantised:
        measured_ms = measured_p50(variant, target, [measurement] if measurement else [])
        if measured_ms is None:
            own = profiler.run_bench(variant.file, threads=target.threads, profile=False)
            measured_ms = own.latency_p50_ms
        fit = fit.with_latency(measured_ms)
    verdict = Verdict(
        variant=variant,
        precision=requirements.precision,
        target=target,
        limits=limits,
        measured_p50_ms=measured_ms,
        fit=fit,
    )
    write_json(run.fit, verdict.to_dict())
    return verdict
