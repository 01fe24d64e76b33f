"""How targets and their profiles are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render.figures import threads_text

if TYPE_CHECKING:
    from sdedge.deploy.targets.band import ErrorBand
    from sdedge.deploy.targets.target import Rates, Target
    from sdedge.pipeline.calibrate import CalibrationResult


def show_targets(out: Console, targets: Sequence["Target"]) -> None:
    """Two lines for each, and how to make another."""
    width = max(len(target.name) for target in targets)
    for target in targets:
        out.print(f"[bold]{shown(target.name):{width}}[/bold]  {shown(target.title)}")
        out.print(f"[dim]{'':{width}}  {shown(_summary(target))}[/dim]")
    out.print(
        "This machine: sdedge targets calibrate host. A board: sdedge bundle, run it there, then\n"
        "sdedge targets calibrate NAME result.json."
    )


def show_target(out: Console, target: "Target") -> None:
    """A profile, with the source of each figure."""
    out.print(f"[bold]{shown(target.title)}[/bold] ({shown(target.chip)})")
    measured = "" if target.measured else ", rates from published latencies"
    out.print(f"  {shown(target.runtime)}, {threads_text(target.threads)}{measured}")
    facts = {
        "clock": target.clock_mhz and f"{target.clock_mhz} MHz",
        "RAM": _size(target.ram_bytes),
        "flash": target.flash_bytes and _size(target.flash_bytes),
        "code of the runtime": _size(target.code_bytes),
        "flash an operator": f"{target.operator_bytes} bytes and its weights",
        "RAM of the runtime": _size(target.runtime_ram_bytes),
        "power": target.power_mw and f"{target.power_mw:g} mW",
    }
    for fact, value in facts.items():
        if value:
            out.print(f"  {fact:20} {value}")
    for precision, rates in target.rates.items():
        out.print(table(precision, ("rate", "", "unit"), _rates(rates)), soft_wrap=False)
        out.print(f"  {_layout(rates)}\n  {_band(rates.error)}")
    out.print("[bold]sources[/bold]")
    for figure, source in target.sources.items():
        out.print(f"  {shown(figure)}: {shown(source)}")


def show_calibration(out: Console, result: "CalibrationResult") -> None:
    """How good the new profile is, and where it is."""
    name = shown(result.target.name)
    for precision, rates in result.target.rates.items():
        out.print(f"{name} in {precision}: {_band(rates.error)}")
    if result.unsettled:
        again = "" if result.on_this_machine else " with a new result.json"
        out.print(
            f"[yellow]{result.unsettled} of {result.measurements} micro-benchmarks did not settle, "
            "as other work was using the machine: rates and intervals are less sure than they "
            f"look. Stop it and calibrate again (sdedge targets calibrate {name}{again}).[/yellow]"
        )
    else:
        out.print(f"all {result.measurements} micro-benchmarks settled")
    out.print(f"written to {shown(result.path)}")


def _summary(target: "Target") -> str:
    flash = "" if target.flash_bytes is None else f", {_size(target.flash_bytes)} flash"
    return (
        f"{target.runtime}, {threads_text(target.threads)}; {' and '.join(target.precisions)}; "
        f"{_size(target.ram_bytes)} RAM{flash}; "
        f"{'measured' if target.measured else 'published'} rates"
    )


def _rates(rates: "Rates") -> list[tuple[str, str, str]]:
    units = {"overhead_us": "us", "gmacs_per_s": "GMAC/s", "gbytes_per_s": "GB/s"}
    return [
        (name, f"{value:.3g}", unit)
        for group, unit in units.items()
        for name, value in getattr(rates, group).items()
    ]


def _layout(rates: "Rates") -> str:
    said = f"channels in blocks of {rates.channel_block}"
    if rates.channel_multiple > 1:
        said += f", multiples of {rates.channel_multiple} fast"
    return said + ("" if rates.cache_bytes is None else f", cache of {_size(rates.cache_bytes)}")


def _band(error: "ErrorBand") -> str:
    return (
        f"measured latency is {error.low:.2f} to {error.high:.2f} times the predicted one "
        f"({error.coverage:.0%} of networks, by {error.networks} that were left out)"
    )


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.0f} KiB"
