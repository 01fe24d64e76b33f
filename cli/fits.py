"""How a fit is shown: its checks, a network on one device or on many, and the MLPerf Tiny scale."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import kilobytes, milliseconds, percent, shown, table, threads_text
from sdedge.config import LIMIT_NAMES

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import Check, Fit
    from sdedge.deploy.fit.mlperf import Place, Standing
    from sdedge.deploy.fit.survey import Row
    from sdedge.deploy.targets.target import Target

_CHECK_COLUMNS = ("limit", "found", "allowed", "verdict")


def print_device(out: Console, rows: Sequence["Row"]) -> None:
    """A network on one device, a column for each precision that it runs."""
    target = rows[0].target
    out.print(f"[bold]{shown(target.name)}[/bold]: {shown(target.title)}, {_runtime(target)}")
    for row in rows:
        out.print(f"[dim]{_heading(row)}: {shown(row.form.file.name)}[/dim]")
    headings = [_heading(row) for row in rows]
    figures = {
        "latency": [f"{_latency(row)} ms" for row in rows],
        "measured p50": [_measured(row) for row in rows],
        "energy": [_energy(row) for row in rows],
        "RAM": [kilobytes(row.fit.ram_bytes) for row in rows],
        "RAM in the file's order": [_file_order_ram(row.fit) for row in rows],
        "flash": [kilobytes(row.fit.flash_bytes) for row in rows],
        "parameters": [f"{row.fit.parameters:,}" for row in rows],
        "fits": [_fits(row.fit) for row in rows],
    }
    given = ([name, *cells] for name, cells in figures.items() if any(cells))
    out.print(table("", ("figure", *headings), given), soft_wrap=False)
    kinds = table("predicted time by kind", ("kind", *headings), _by_kind(rows))
    out.print(kinds, soft_wrap=False)
    checks = ((_heading(row), *_check(check)) for row in rows for check in row.fit.checks)
    out.print(table("limits", ("weights", *_CHECK_COLUMNS), checks), soft_wrap=False)


def print_devices(out: Console, rows: Sequence["Row"]) -> None:
    """The fit table: a network on many devices, a line for each precision that a device runs."""
    head = ("", "latency, ms", "RAM", "flash", "fits")
    lines = [
        (
            _heading(row),
            _latency(row),
            _of_device(row.fit, "ram"),
            _of_device(row.fit, "flash"),
            _fits(row.fit),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    out.print(f"[bold]{_aligned(head, widths)}[/bold]")
    above = None
    for row, line in zip(rows, lines, strict=True):
        if row.target.name != above:
            out.print(f"[bold]{shown(row.target.name)}[/bold]: {shown(_runtime(row.target))}")
        above = row.target.name
        out.print(shown(_aligned(line, widths)))
        if row.measured_ms is not None:
            out.print(f"{'':{widths[0] + 4}}measured p50 {_measured(row)}")


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


def print_notes(out: Console, rows: Sequence["Row"]) -> None:
    """What the figures leave open."""
    coverage = " or ".join(sorted({f"{row.prediction.coverage:.0%}" for row in rows}))
    out.print(f"[dim]Latency: predicted for one image, with its {coverage} interval.[/dim]")
    print_estimate(out, [check for row in rows for check in row.fit.checks])
    if any(row.form.if_quantised for row in rows):
        out.print("[dim]int8*: as it would be if quantised; there is no such file.[/dim]")
    if any(_file_order_ram(row.fit) for row in rows):
        most = max(row.fit.file_order_ram_bytes - row.fit.ram_bytes for row in rows)
        out.print(
            "[yellow]RAM: in the best order of operators; in the order of the file "
            f"{kilobytes(most)} more.[/yellow]"
        )
    if any(row.target.flash_bytes for row in rows):
        out.print("[dim]RAM and flash of a microcontroller are with the runtime's.[/dim]")
    if any(row.target.flash_bytes is None for row in rows):
        out.print(
            "[dim]RAM is of activations; a device with an operating system has to hold weights and "
            "runtime too.[/dim]"
        )
    if any(not check.certain for row in rows for check in row.fit.checks):
        out.print("[dim]latency?: the limit lies within the interval of the prediction.[/dim]")
    if any(row.prediction.partial for row in rows):
        unknown = rows[0].form.graph.unknown
        listed = ", ".join(f"{count} {name}" for name, count in unknown.items())
        out.print(
            f"[yellow]Partial: the predictor does not know {shown(listed)}, and their time is "
            "left out.[/yellow]"
        )


def print_standings(out: Console, standings: Sequence["Standing"]) -> None:
    """The network's place on the MLPerf Tiny scale, beside each bar; nothing for none."""
    if not standings:
        return
    rows = (
        (standing.precision, place.benchmark, *_place(standing, place))
        for standing in standings
        for place in standing.places
    )
    columns = ("weights", "benchmark", "accuracy", "file")
    out.print(table("MLPerf Tiny scale", columns, rows), soft_wrap=False)
    notes = dict.fromkeys(note for standing in standings for note in standing.notes)
    for note in (*notes, "a place on the scale, not an official result"):
        out.print(f"[dim]{shown(note)}[/dim]", soft_wrap=False)


def _heading(row: "Row") -> str:
    return row.precision + ("*" if row.form.if_quantised else "")


def _runtime(target: "Target") -> str:
    return f"{target.runtime}, {threads_text(target.threads)}"


def _latency(row: "Row") -> str:
    prediction = row.prediction
    point, low, high = map(
        milliseconds, (prediction.latency_ms, prediction.low_ms, prediction.high_ms)
    )
    return f"{'over ' if prediction.partial else ''}{point} ({low}–{high})"


def _measured(row: "Row") -> str:
    measured = row.measured_ms
    if measured is None:
        return ""
    inside = "inside" if row.within_interval else "outside"
    error = row.prediction.latency_ms / measured - 1
    return f"{milliseconds(measured)} ms, predicted {error:+.0%}, {inside} the interval"


def _energy(row: "Row") -> str:
    energy = row.prediction.energy_mj
    return "" if energy is None else f"{milliseconds(energy)} mJ"


def _by_kind(rows: Sequence["Row"]) -> Iterator[list[str]]:
    times = [row.prediction.by_kind_ms for row in rows]
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


def _place(standing: "Standing", place: "Place") -> tuple[str, str]:
    points = 100 * abs(standing.accuracy - place.bar_accuracy)
    side = "over" if place.accurate else "short of"
    return (
        f"{percent(standing.accuracy)}, {points:.2f} {side} {place.bar_accuracy:.0%}",
        f"{standing.file_size_bytes:,} of {place.bar_file_size_bytes:,} bytes",
    )


def _amount(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{milliseconds(value)} ms"
    return kilobytes(value * 1024) if unit == "kB" else f"{value:,.0f}"
