"""How a fit is shown: its checks, a network on one device or on many, its MLPerf Tiny scores."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import kilobytes, milliseconds, percent, shown, table, threads_text
from sdedge.config import LIMIT_NAMES

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import Check, Fit
    from sdedge.deploy.fit.evaluate import TargetReport
    from sdedge.deploy.fit.mlperf import Comparison, Score
    from sdedge.deploy.targets.target import Target

_CHECK_COLUMNS = ("limit", "found", "allowed", "verdict")


def print_device(out: Console, reports: Sequence["TargetReport"]) -> None:
    """A network on one device, a column for each precision that it runs."""
    target = reports[0].target
    out.print(f"[bold]{shown(target.name)}[/bold]: {shown(target.title)}, {_runtime(target)}")
    for report in reports:
        out.print(f"[dim]{_heading(report)}: {shown(report.variant.file.name)}[/dim]")
    headings = [_heading(report) for report in reports]
    figures = {
        "latency": [f"{_latency(report)} ms" for report in reports],
        "measured p50": [_measured(report) for report in reports],
        "energy": [_energy(report) for report in reports],
        "RAM": [kilobytes(report.fit.ram_bytes) for report in reports],
        "RAM in the file's order": [_file_order_ram(report.fit) for report in reports],
        "flash": [kilobytes(report.fit.flash_bytes) for report in reports],
        "parameters": [f"{report.fit.parameters:,}" for report in reports],
        "fits": [_fits(report.fit) for report in reports],
    }
    given = ([name, *cells] for name, cells in figures.items() if any(cells))
    out.print(table("", ("figure", *headings), given), soft_wrap=False)
    kinds = table("predicted time by kind", ("kind", *headings), _by_kind(reports))
    out.print(kinds, soft_wrap=False)
    checks = (
        (_heading(report), *_check(check)) for report in reports for check in report.fit.checks
    )
    out.print(table("limits", ("weights", *_CHECK_COLUMNS), checks), soft_wrap=False)


def print_devices(out: Console, reports: Sequence["TargetReport"]) -> None:
    """The fit table: a network on many devices, a line for each precision that a device runs."""
    head = ("", "latency, ms", "RAM", "flash", "fits")
    lines = [
        (
            _heading(report),
            _latency(report),
            _of_device(report.fit, "ram"),
            _of_device(report.fit, "flash"),
            _fits(report.fit),
        )
        for report in reports
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    out.print(f"[bold]{_aligned(head, widths)}[/bold]")
    above = None
    for report, line in zip(reports, lines, strict=True):
        if report.target.name != above:
            out.print(f"[bold]{shown(report.target.name)}[/bold]: {shown(_runtime(report.target))}")
        above = report.target.name
        out.print(shown(_aligned(line, widths)))
        if report.measured_ms is not None:
            out.print(f"{'':{widths[0] + 4}}measured p50 {_measured(report)}")


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f"  {cell:{width}}" for cell, width in zip(cells, widths, strict=True))
    return "".join(padded).rstrip()


def print_checks(out: Console, title: str, checks: Sequence["Check"]) -> None:
    """Each limit: what was found, what is allowed, and by how much it is met or missed."""
    out.print(table(title, _CHECK_COLUMNS, map(_check, checks)), soft_wrap=False)
    print_estimate(out, checks)


def print_estimate(out: Console, checks: Sequence["Check"]) -> None:
    """Which figure of a prediction a limit on latency was held against, and what the other says."""
    check = next((check for check in checks if check.coverage), None)
    if check is None or check.coverage is None:
        return
    if check.upper:
        out.print(
            f"[dim]Latency: the upper end of the {check.coverage:.0%} interval of the prediction "
            "is held against the limit.[/dim]"
        )
    else:
        out.print(
            "[dim]Latency: the middle of the prediction is held against the limit; "
            f"--confidence {check.coverage:g} takes\nthe upper end of its {check.coverage:.0%} "
            "interval.[/dim]"
        )


def limit_name(limit: str) -> str:
    """What people call a limit: the budget's, or that of the device itself."""
    return LIMIT_NAMES[limit]


def _check(check: "Check") -> tuple[str, ...]:
    return (
        limit_name(check.limit),
        _amount(check.found, check.unit),
        _amount(check.allowed, check.unit),
        verdict(check),
    )


def verdict(check: "Check") -> str:
    """Whether one limit is met, and by how much."""
    amount = _amount(abs(check.margin), check.unit)
    text = f"fits, {amount} to spare" if check.fits else f"does not fit, {amount} too much"
    if check.certain or check.low is None or check.high is None:
        return text
    end = f"at worst {_amount(check.high, check.unit)}"
    if not check.fits:
        end = f"at best {_amount(check.low, check.unit)}"
    return f"{text}; {end}"


def print_notes(out: Console, reports: Sequence["TargetReport"]) -> None:
    """What the figures leave open."""
    coverage = " or ".join(sorted({f"{report.prediction.coverage:.0%}" for report in reports}))
    out.print(f"[dim]Latency: predicted for one image, with its {coverage} interval.[/dim]")
    print_estimate(out, [check for report in reports for check in report.fit.checks])
    if any(report.variant.if_quantised for report in reports):
        out.print("[dim]int8*: as it would be if quantised; there is no such file.[/dim]")
    if any(_file_order_ram(report.fit) for report in reports):
        most = max(report.fit.file_order_ram_bytes - report.fit.ram_bytes for report in reports)
        out.print(
            "[yellow]RAM: in the best order of operators; in the order of the file "
            f"{kilobytes(most)} more.[/yellow]"
        )
    if any(report.target.flash_bytes for report in reports):
        out.print("[dim]RAM and flash of a microcontroller are with the runtime's.[/dim]")
    if any(report.target.flash_bytes is None for report in reports):
        out.print(
            "[dim]RAM is of activations; a device with an operating system has to hold weights and "
            "runtime too.[/dim]"
        )
    if any(not check.certain for report in reports for check in report.fit.checks):
        out.print("[dim]latency?: the limit lies within the interval of the prediction.[/dim]")
    if any(report.prediction.partial for report in reports):
        unknown = reports[0].variant.graph.unknown
        listed = ", ".join(f"{count} {name}" for name, count in unknown.items())
        out.print(
            f"[yellow]Partial: the predictor does not know {shown(listed)}, and their time is "
            "left out.[/yellow]"
        )


def print_scores(out: Console, scores: Sequence["Score"]) -> None:
    """The network against each reference of MLPerf Tiny; nothing without a score."""
    if not scores:
        return
    rows = (
        (score.precision, each.benchmark, *_compared(score, each))
        for score in scores
        for each in score.comparisons
    )
    columns = ("weights", "benchmark", "accuracy", "file")
    out.print(table("MLPerf Tiny", columns, rows), soft_wrap=False)
    notes = dict.fromkeys(note for score in scores for note in score.notes)
    for note in (*notes, "a comparison, not an official result"):
        out.print(f"[dim]{shown(note)}[/dim]", soft_wrap=False)


def _heading(report: "TargetReport") -> str:
    return report.precision + ("*" if report.variant.if_quantised else "")


def _runtime(target: "Target") -> str:
    return f"{target.runtime}, {threads_text(target.threads)}"


def _latency(report: "TargetReport") -> str:
    prediction = report.prediction
    point, low, high = map(
        milliseconds, (prediction.latency_ms, prediction.low_ms, prediction.high_ms)
    )
    return f"{'over ' if prediction.partial else ''}{point} ({low}–{high})"


def _measured(report: "TargetReport") -> str:
    measured = report.measured_ms
    if measured is None:
        return ""
    inside = "inside" if report.within_interval else "outside"
    error = report.prediction.latency_ms / measured - 1
    return f"{milliseconds(measured)} ms, predicted {error:+.0%}, {inside} the interval"


def _energy(report: "TargetReport") -> str:
    energy = report.prediction.energy_mj
    return "" if energy is None else f"{milliseconds(energy)} mJ"


def _by_kind(reports: Sequence["TargetReport"]) -> Iterator[list[str]]:
    times = [report.prediction.by_kind_ms for report in reports]
    kinds = dict.fromkeys(kind for by_kind in times for kind in by_kind)
    for kind in sorted(kinds, key=lambda kind: -times[0].get(kind, 0.0)):
        yield [kind, *(_part(by_kind.get(kind, 0.0), sum(by_kind.values())) for by_kind in times)]


def _part(time_ms: float, total_ms: float) -> str:
    return f"{milliseconds(time_ms)} ms  {time_ms / total_ms:.0%}" if total_ms else "-"


def _file_order_ram(fit: "Fit") -> str:
    """RAM where operators run as they are stored; "" where that is no more."""
    more = fit.file_order_ram_bytes > fit.ram_bytes
    return kilobytes(fit.file_order_ram_bytes) if more else ""


def _of_device(fit: "Fit", limit: str) -> str:
    """What a microcontroller needs of what it has; elsewhere, what the network alone takes."""
    allowed = {check.limit: check.allowed * 1024 for check in fit.checks}
    needed = fit.ram_bytes if limit == "ram" else fit.flash_bytes
    return kilobytes(needed, of=allowed[limit] if "flash" in allowed else None)


def _fits(fit: "Fit") -> str:
    """Yes, or the limits that are missed; a question mark where a prediction leaves it open."""
    missed = dict.fromkeys(_name(check) for check in fit.checks if not check.fits)
    if missed:
        return f"no: {', '.join(missed)}"
    unsure = dict.fromkeys(_name(check) for check in fit.checks if not check.certain)
    return ", ".join(("yes", *unsure))


def _name(check: "Check") -> str:
    name = LIMIT_NAMES[check.limit].removesuffix(" of the device")
    return name + ("" if check.certain else "?")


def _compared(score: "Score", comparison: "Comparison") -> tuple[str, str]:
    points = 100 * abs(score.accuracy - comparison.reference_accuracy)
    side = "over" if comparison.accurate else "short of"
    return (
        f"{percent(score.accuracy)}, {points:.2f} {side} {comparison.reference_accuracy:.0%}",
        f"{score.file_size_bytes:,} of {comparison.reference_file_size_bytes:,} bytes",
    )


def _amount(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{milliseconds(value)} ms"
    return kilobytes(value * 1024) if unit == "kB" else f"{value:,.0f}"
