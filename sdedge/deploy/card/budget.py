"""The part of a model card on what the network was made for, and what was predicted of it."""

from collections.abc import Mapping
from typing import Any

from sdedge.config import LIMIT_NAMES
from sdedge.deploy.card.records import FitFile, TargetsFile, read_report
from sdedge.deploy.card.text import amount, table, threads
from sdedge.deploy.fit.requirements import Requirements
from sdedge.escape import markdown, markdown_code
from sdedge.run import RunDir, read_json


def budget_part(run: RunDir) -> str | None:
    """Device, limits, and whether the exported file meets them; None without a verdict.

    Raises RunError for a damaged budget.json, KeyError for a fit.json that lacks something.
    """
    file = run.fit
    if not file.exists():
        return None
    fit = read_report(file, FitFile, f"bench --run {run.path}")
    source = run.budget
    target = Requirements.from_dict(read_json(source), source=str(source)).target
    device = "no device"
    if target:
        name, runtime = markdown_code(target.name), markdown(target.runtime)
        device = f"{markdown(target.title)} (target {name}, {runtime})"
    made = ", as it would be if quantised" if fit["if_quantised"] else ""
    verdict = "It fits." if fit["fits"] else "**It does not fit.**"
    parts = [
        f"Made for {device}, in {fit['precision']}. Held against the budget: "
        f"`{fit['model']}`{made}. {verdict}",
        table(["limit", "allowed", "found", "verdict"], [_check(c) for c in fit["checks"]]),
    ]
    if prediction := fit["prediction"]:
        parts.append(f"Latency there, {_predicted(prediction)}. {_held(fit)}")
    return "\n\n".join(parts)


def prediction_lines(run: RunDir) -> list[str]:
    """What `sdedge bench --target` predicted last, a line for each device and precision."""
    file = run.targets
    again = f"bench --all-targets --run {run.path}"
    rows = read_report(file, TargetsFile, again).get("targets", []) if file.exists() else []
    return [
        f"- {markdown(row['title'])} (target {markdown_code(row['target'])}), {row['precision']}"
        f"{', if it were quantised' if row['if_quantised'] else ''}, "
        f"{_predicted(row['prediction'])}"
        for row in rows
        if row["prediction"] is not None
    ]


def _check(check: Mapping[str, Any]) -> list[str]:
    allowed, found, margin = (
        amount(check[name], check["unit"]) for name in ("allowed", "found", "margin")
    )
    spare = f"fits, {margin} to spare" if check["fits"] else "does not fit"
    return [LIMIT_NAMES[check["limit"]], allowed, found, spare]


def _held(fit: Mapping[str, Any]) -> str:
    """Which latency the limit was held against."""
    if fit["measured_p50_ms"] is not None:
        return f"Measured there: p50 {fit['measured_p50_ms']:.3f} ms."
    if "max_latency_ms" not in fit["limits"]:
        return "It was not measured there."
    part = "upper end" if fit["confidence"] else "middle"
    return f"It was not measured there; the limit is held against the {part} of the prediction."


def _predicted(prediction: Mapping[str, Any]) -> str:
    point, low, high = (
        amount(prediction[f"{name}_ms"], "ms") for name in ("latency", "low", "high")
    )
    where = f"{markdown(prediction['runtime'])}, {threads(prediction['threads'])}"
    return (
        f"predicted for {where}, one image: {point}, and for {prediction['coverage']:.0%} of "
        f"networks between {low} and {high}"
    )
