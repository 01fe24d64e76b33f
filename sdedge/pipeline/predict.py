"""Predicted latency, memory and fit of a network on devices; a run keeps them in targets.json."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from sdedge.deploy.fit.check import Limits, LimitSettings
from sdedge.deploy.fit.evaluate import TargetReport, evaluate_targets, with_measurements
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.latency.profiler import Measurement
from sdedge.deploy.targets.target import HOST, Target, list_targets, load_target
from sdedge.errors import ConfigError
from sdedge.escape import quoted
from sdedge.events import Event, Reporter, silent
from sdedge.files import write_json
from sdedge.pipeline.exported import ExportedNetwork, ModelLike

if TYPE_CHECKING:
    from sdedge.deploy.fit.requirements import Requirements

ALL = "all"
TargetLike = str | Path | Target


@dataclass(frozen=True)
class BudgetLimitsTaken(Event):
    """No limits were set, so those of the run's budget are; `target` is what they are for."""

    limits: Limits
    target: str | None


def predict_latency(
    model: ModelLike = None,
    target: TargetLike | Sequence[TargetLike] = ALL,
    *,
    precision: Precision | None = None,
    shape: Sequence[int] | None = None,
    partial: bool = False,
    reporter: Reporter = silent,
    **limits: Unpack[LimitSettings],
) -> tuple[TargetReport, ...]:
    """Predict latency (ms), RAM and flash (bytes) of an exported network on devices.

    `model` is a run directory, the result of an earlier link, one of an export's artifacts, an ONNX
    file of any tool, or None for the newest run. `target` is a name, the JSON file of a profile,
    several of these, or "all". There is a report for each target and each precision that it runs,
    or for `precision` alone. `shape` gives the three dimensions after the batch of a file that
    leaves them open, and `partial` leaves out operators that have no cost model. `limits` are the
    fields of `Limits`, such as max_latency_ms=20; without them those of the run's budget count. A
    run keeps the reports, and its model card gets them.

    Raises TargetError for a target that is unknown, damaged or cannot predict the network,
    ConfigError for a limit that is out of range, RunError where there is no export, and
    ExportError for a file that is no classifier.
    """
    targets, fit_limits = load_targets(target), Limits(**limits)
    check_precision(precision)
    network = ExportedNetwork.find(model, shape)
    network.announce(reporter)
    with network.lock():
        fit_limits = limits_or_budget(fit_limits, network.budget(), reporter)
        reports = evaluate_targets(
            network.variants, targets, fit_limits, precision=precision, partial=partial
        )
        kept = keep_reports(network, reports)
        network.rewrite_card()
    return kept


def load_targets(target: TargetLike | Sequence[TargetLike]) -> tuple[Target, ...]:
    """The profiles of these names or files, or every profile for "all"; TargetError."""
    if target == ALL:
        return tuple(list_targets())
    chosen = [target] if isinstance(target, str | Path | Target) else list(target)
    if not chosen:
        raise ConfigError("target is empty; name at least one device, or all")
    return tuple(each if isinstance(each, Target) else load_target(each) for each in chosen)


def check_precision(precision: str | None) -> None:
    """ConfigError for one that there is not."""
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError(f"precision is {quoted(precision)}; choose from {', '.join(PRECISIONS)}")


def limits_or_budget(limits: Limits, budget: "Requirements | None", reporter: Reporter) -> Limits:
    """The limits, or where none are set those of the budget, which is reported."""
    if limits.active or budget is None:
        return limits
    taken = replace(budget.limits, confidence=limits.confidence or budget.limits.confidence)
    if taken.active:
        reporter(BudgetLimitsTaken(taken, None if budget.target is None else budget.target.name))
    return taken


def keep_reports(
    network: ExportedNetwork,
    reports: Sequence[TargetReport],
    measurement: Measurement | None = None,
) -> tuple[TargetReport, ...]:
    """Add what was measured, just now or of the run earlier, and keep the reports in the run."""
    if any(report.target.name == HOST for report in reports):
        measured = [measurement] if measurement else network.measurements()
        reports = with_measurements(reports, measured)
    if network.run is not None:
        write_json(network.run.targets, reports_to_dict(reports))
    return tuple(reports)


def reports_to_dict(reports: Sequence[TargetReport]) -> dict[str, Any]:
    """The JSON form of the reports of one call, as in targets.json."""
    limits = reports[0].limits
    return {
        "limits": limits.active,
        "confidence": limits.confidence,
        "targets": [report.to_dict() for report in reports],
    }
