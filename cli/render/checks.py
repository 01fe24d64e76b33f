"""How limits are shown: what each allows, what was found, and the verdict on a budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import table
from sdedge.cli.render.figures import kilobytes, milliseconds
from sdedge.config import LIMIT_NAMES

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import Check
    from sdedge.pipeline.verdict import Verdict

CHECK_COLUMNS = ("limit", "found", "allowed", "verdict")


def show_verdict(out: Console, verdict: "Verdict") -> None:
    """The exported network of a run against the budget of the run."""
    title = f"budget, {verdict.variant.file.name} in {verdict.precision}" + (
        f" on {verdict.target.name}" if verdict.target else ""
    )
    show_checks(out, title, verdict.fit.checks)
    out.print(
        "[bold green]The network fits its budget[/bold green]"
        if verdict.fits
        else "[bold red]The network does not fit its budget[/bold red]"
    )
    if verdict.variant.if_quantised:
        out.print(
            "[yellow]This is of the network if it were quantised; export --int8 makes the file, "
            "and the verdict on it.[/yellow]"
        )


def show_checks(out: Console, title: str, checks: Sequence["Check"]) -> None:
    """Each limit: what was found, what is allowed, and by how much it is met or missed."""
    out.print(table(title, CHECK_COLUMNS, map(check_cells, checks)), soft_wrap=False)
    show_estimate(out, checks)


def show_estimate(out: Console, checks: Sequence["Check"]) -> None:
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


def check_cells(check: "Check") -> tuple[str, ...]:
    """The cells of one limit, under CHECK_COLUMNS."""
    return (
        LIMIT_NAMES[check.limit],
        _amount(check.found, check.unit),
        _amount(check.allowed, check.unit),
        margin_text(check),
    )


def margin_text(check: "Check") -> str:
    """Whether one limit is met, and by how much."""
    amount = _amount(abs(check.margin), check.unit)
    text = f"fits, {amount} to spare" if check.fits else f"does not fit, {amount} too much"
    if check.certain or check.low is None or check.high is None:
        return text
    end = f"at worst {_amount(check.high, check.unit)}"
    if not check.fits:
        end = f"at best {_amount(check.low, check.unit)}"
    return f"{text}; {end}"


def _amount(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{milliseconds(value)} ms"
    return kilobytes(value * 1024) if unit == "kB" else f"{value:,.0f}"
