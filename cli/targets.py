"""sdedge targets [show | calibrate]"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import console, guarded, print_json, shown, table, threads_text
from sdedge.errors import ConfigError
from sdedge.escape import quoted

if TYPE_CHECKING:
    from sdedge.deploy.targets.band import ErrorBand
    from sdedge.deploy.targets.target import Rates, Target

app = App(help="The devices that latency can be predicted for.")

MAX_RAM_MB = 2**24  # 16 TB

Name = Annotated[str, typer.Argument(help="A target's name, or a profile's JSON file.")]


@app.callback(invoke_without_command=True)
@guarded
def targets(context: typer.Context, json_output: options.Json = False) -> None:
    """List the devices; a profile that was measured goes before the one that ships."""
    if context.invoked_subcommand is not None:
        return
    from sdedge.deploy.targets.target import list_targets

    listed = list_targets()
    if json_output:
        print_json({"targets": [{"name": t.name, **t.to_dict()} for t in listed]})
        return
    out = console()
    width = max(len(target.name) for target in listed)
    for target in listed:
        out.print(f"[bold]{shown(target.name):{width}}[/bold]  {shown(target.title)}")
        out.print(f"[dim]{'':{width}}  {shown(_summary(target))}[/dim]")
    out.print(
        "This machine: sdedge targets calibrate host. A board: sdedge bundle, run it there, then\n"
        "sdedge targets calibrate NAME result.json."
    )


def _summary(target: "Target") -> str:
    flash = "" if target.flash_bytes is None else f", {_size(target.flash_bytes)} flash"
    return (
        f"{target.runtime}, {threads_text(target.threads)}; {' and '.join(target.precisions)}; "
        f"{_size(target.ram_bytes)} RAM{flash}; "
        f"{'measured' if target.measured else 'published'} rates"
    )


@app.command()
@guarded
def show(name: Name, json_output: options.Json = False) -> None:
    """Print a profile, with the source of each figure."""
    from sdedge.deploy.targets.target import load_target

    target = load_target(name)
    if json_output:
        print_json({"name": target.name, **target.to_dict()})
        return
    out = console()
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


@app.command()
@guarded
def calibrate(
    name: Annotated[str, typer.Argument(help="The profile's name: host, a board's, or a new one.")],
    result: Annotated[
        Path | None,
        typer.Argument(help="What board.py of a bundle wrote; left out: measure this machine."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads, where this machine is measured (1).")
    ] = None,
    ram_mb: Annotated[
        int | None, typer.Option(help="RAM of the device; needed for one not among the targets.")
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Make a profile from measurements of a device."""
    from sdedge.deploy.board.calibrate import calibrate as fit
    from sdedge.deploy.board.calibrate import count_unsettled, read_result
    from sdedge.deploy.targets.target import HOST, check_name, save_target

    check_name(name)
    if ram_mb is not None and not 1 <= ram_mb <= MAX_RAM_MB:
        raise ConfigError(
            f"--ram-mb is {quoted(ram_mb)}; it must be at least 1 and at most {MAX_RAM_MB:,}"
        )
    out = console(json_output=json_output)
    if result is None:
        if name != HOST:
            raise ConfigError(
                f"no result to make {name} of: give the result.json that board.py wrote on it "
                "(only host is measured here)"
            )
        measured, source = _measure(out, 1 if threads is None else threads), "this machine"
    elif threads is not None:
        raise ConfigError(
            f"--threads {threads} is for measuring this machine; leave it out, as {result} has "
            "been measured with its own"
        )
    else:
        measured, source = read_result(result), str(result)
    target = fit(name, measured, source=source, ram_bytes=ram_mb and ram_mb * 2**20)
    path = save_target(target)
    micro = len(measured["micro"])
    unsettled = count_unsettled(measured)
    if json_output:
        counts = {"measurements": micro, "unsettled": unsettled}
        print_json({"name": target.name, "path": str(path), **target.to_dict(), **counts})
        return
    for precision, rates in target.rates.items():
        out.print(f"{shown(name)} in {precision}: {_band(rates.error)}")
    if unsettled:
        out.print(
            f"[yellow]{unsettled} of {micro} micro-benchmarks did not settle, as other work was "
            "using the machine: rates and intervals are less sure than they look. Stop it and "
            f"calibrate again (sdedge targets calibrate {shown(name)}"
            f"{'' if result is None else ' with a new result.json'}).[/yellow]"
        )
    else:
        out.print(f"all {micro} micro-benchmarks settled")
    out.print(f"written to {shown(path)}")


def _measure(out: Console, threads: int) -> dict[str, Any]:
    from sdedge.deploy.board.bundle import measure_host

    out.print("[dim]measuring this machine for a few minutes: leave it idle[/dim]")
    return measure_host({}, threads)


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
