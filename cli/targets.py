"""sdedge targets [list | show | calibrate]"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sdedge.cli import options
from sdedge.cli.app import App
from sdedge.cli.output import console, guarded, print_json
from sdedge.cli.render.targets import show_calibration, show_target, show_targets

app = App(help="The devices that latency can be predicted for.")

Name = Annotated[str, typer.Argument(help="A target's name, or a profile's JSON file.")]


@app.callback(invoke_without_command=True)
@guarded
def targets(context: typer.Context, json_output: options.Json = False) -> None:
    """List the devices; a profile that was measured goes before the one that ships."""
    if context.invoked_subcommand is None:
        _list(json_output=json_output)


@app.command("list")
@guarded
def list_all(json_output: options.Json = False) -> None:
    """List the devices, as `sdedge targets` does."""
    _list(json_output=json_output)


def _list(*, json_output: bool) -> None:
    from sdedge.deploy.targets.target import list_targets

    listed = list_targets()
    if json_output:
        print_json({"targets": [{"name": t.name, **t.to_dict()} for t in listed]})
    else:
        show_targets(console(), listed)


@app.command()
@guarded
def show(name: Name, json_output: options.Json = False) -> None:
    """Print a profile, with the source of each figure."""
    from sdedge.deploy.targets.target import load_target

    target = load_target(name)
    if json_output:
        print_json({"name": target.name, **target.to_dict()})
    else:
        show_target(console(), target)


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
    from sdedge.cli.render.progress import render
    from sdedge.pipeline.calibrate import calibrate_target

    out = console(json_output=json_output)
    made = calibrate_target(
        name, result, threads=threads, ram_mb=ram_mb, reporter=partial(render, console=out)
    )
    if json_output:
        print_json(made.to_dict())
    else:
        show_calibration(out, made)
