"""How predictions are shown: a network on one device, or the fit table of many."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render.checks import CHECK_COLUMNS, check_cells, show_estimate
from sdedge.cli.render.figures import kilobytes, milliseconds, threads_text
from sdedge.config import LIMIT_NAMES

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import Check, Fit
    from sdedge.deploy.fit.evaluate import TargetReport
    from sdedge.deploy.targets.target import Target


def show_reports(out: Console, reports: Sequence["TargetReport"]) -> None:
    """A network on one device in full, or a line for each of many; and what the figures omit."""
    if len({report.target.name for report in reports}) == 1:
        _print_device(out, reports)
    else:
        _print_devices(out, reports)
    _print_notes(out, reports)


def _print_device(out: Console, reports: Sequence["TargetReport"]) -> None:
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
        (_heading(report), *check_cells(check)) for report in reports for check in report.fit.checks
    )
    out.print(table("limits", ("weights", *CHECK_COLUMNS), checks), soft_wrap=False)


def _print_devices(out: Console, reports: Sequence["TargetReport"]) -> None:
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


def _print_notes(out: Console, reports: Sequence["TargetReport"]) -> None:
    """What the figures leave open."""
    coverage = " or ".join(sorted({f"{report.prediction.coverage:.0%}" for report in reports}))
    out.print(f"[dim]Latency: predicted for one image, with its {coverage} interval.[/dim]")
    show_estimate(out, [check for report in reports for check in report.fit.checks])
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
