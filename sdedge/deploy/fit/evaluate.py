"""One network on many devices, in every precision that each runs: the lines of the fit table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.check import Fit, Limits, check_fit
from sdedge.deploy.ir.graph import Graph, Precision
from sdedge.deploy.latency.profiler import Measurement
from sdedge.deploy.memory.plan import MemoryPlan, plan_memory
from sdedge.deploy.targets.predict import Prediction
from sdedge.deploy.targets.target import HOST, Target
from sdedge.errors import ConfigError, TargetError


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network in one precision; `if_quantised` when there is no such file, only fp32's."""

    artifact: Artifact
    if_quantised: bool = False

    @property
    def file(self) -> Path:
        """The file that it is, or would be made of."""
        return self.artifact.path

    @cached_property
    def graph(self) -> Graph:
        """Its graph."""
        return self.artifact.graph.as_int8() if self.if_quantised else self.artifact.graph

    @cached_property
    def memory(self) -> MemoryPlan:
        """Its memory plan, made once however many targets it is held against."""
        return plan_memory(self.graph) if self.if_quantised else self.artifact.memory


@dataclass(frozen=True, kw_only=True)
class TargetReport:
    """A network in one precision on one device, and the limits that it was held against."""

    target: Target
    precision: Precision
    variant: Variant
    limits: Limits
    fit: Fit
    prediction: Prediction
    measured_ms: float | None = None  # p50 on this machine, where the target is this machine

    @property
    def within_interval(self) -> bool | None:
        """Whether the interval of the prediction holds what was measured, if anything was."""
        if self.measured_ms is None:
            return None
        return self.prediction.low_ms <= self.measured_ms <= self.prediction.high_ms

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "target": self.target.name,
            "title": self.target.title,
            "runtime": self.target.runtime,
            "threads": self.target.threads,
            "precision": self.precision,
            "model": str(self.variant.file),
            "if_quantised": self.variant.if_quantised,
            "unknown_operators": dict(self.variant.graph.unknown),
            "measured_p50_ms": self.measured_ms,
            "measured_within_interval": self.within_interval,
            **self.fit.to_dict(),
        }


def variants_of(network: Artifact, int8: Artifact | None = None) -> dict[Precision, Variant]:
    """The network of a file in each precision, where `int8` is its quantised file, if there is one.

    A network that is itself int8 has that variant alone.
    """
    if network.graph.precision == "int8":
        return {"int8": Variant(artifact=network)}
    quantised = Variant(artifact=int8) if int8 else Variant(artifact=network, if_quantised=True)
    return {"fp32": Variant(artifact=network), "int8": quantised}


def evaluate_targets(
    variants: Mapping[Precision, Variant],
    targets: Sequence[Target],
    limits: Limits,
    *,
    precision: Precision | None = None,
    partial: bool = False,
) -> tuple[TargetReport, ...]:
    """A report for each target and precision that it runs, or for `precision` alone.

    Raises ConfigError when `variants` lacks `precision`, and TargetError when no target runs what
    there is, or one cannot predict it (see `check_fit`).
    """
    if precision is not None and precision not in variants:
        (variant,) = variants.values()
        raise ConfigError(
            f"--precision {precision}: {variant.file} is {variant.graph.precision} already"
        )
    wanted = tuple(variants) if precision is None else (precision,)
    reports = tuple(_reports(variants, targets, limits, wanted, partial=partial))
    if not reports:
        names = "; ".join(f"{t.name} runs {' and '.join(t.precisions)}" for t in targets)
        raise TargetError(f"nothing to predict in {' or '.join(wanted)}: {names}")
    return reports


def with_measurements(
    reports: Sequence[TargetReport], measurements: Sequence[Measurement]
) -> tuple[TargetReport, ...]:
    """The reports, those of this machine with what was measured of the same file and threads."""
    return tuple(
        replace(report, measured_ms=measured_p50(report.variant, report.target, measurements))
        for report in reports
    )


def measured_p50(
    variant: Variant, target: Target, measurements: Sequence[Measurement]
) -> float | None:
    """What was measured of this file on this machine in ms, if `target` is this machine."""
    if target.name != HOST or variant.if_quantised:
        return None
    same = (variant.file.name, variant.graph.file_size_bytes, target.threads, 1)
    return next(
        (
            m.latency_p50_ms
            for m in measurements
            if (m.model, m.model_size_bytes, m.threads, m.batch_size) == same
        ),
        None,
    )


def _reports(
    variants: Mapping[Precision, Variant],
    targets: Sequence[Target],
    limits: Limits,
    wanted: Sequence[Precision],
    *,
    partial: bool,
) -> Iterator[TargetReport]:
    for target in targets:
        for precision in (p for p in wanted if p in target.precisions):
            variant = variants[precision]
            fit = check_fit(variant.graph, target, limits, memory=variant.memory, partial=partial)
            assert fit.prediction is not None  # as there is a target
            yield TargetReport(
                target=target,
                precision=precision,
                variant=variant,
                limits=limits,
                fit=fit,
                prediction=fit.prediction,
            )
