"""sdedge bundle"""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json, shown


@guarded
def bundle(
    file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.zip", help="Default: bundle.zip in the run directory."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where the test images are now; default: as in training.")
    ] = None,
    data_root: options.DataRoot = None,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Pack the exported networks with a program that proves and measures them on a board."""
    from sdedge.cli.render import images as image_events  # noqa: F401 - registers them
    from sdedge.cli.render.progress import ConsoleReporter
    from sdedge.deploy.board.bundle import bundle_run
    from sdedge.files import check_replaceable
    from sdedge.pipeline.images import open_training_data
    from sdedge.run import RunDir

    out = console(json_output=json_output)
    opened = RunDir.open(run)
    out.print(f"[dim]run directory {shown(opened.path)}[/dim]")
    opened.require(opened.onnx, "export")
    if file is not None:
        check_replaceable(file)  # before the minutes that a bundle may take
    with opened.lock() if file is None else nullcontext():
        with ConsoleReporter(out) as reporter:
            data, _ = open_training_data(opened, dataset, data_root, reporter)
        path, models = bundle_run(opened, data.test, file)
    size = path.stat().st_size
    out.print(f"[bold]Bundled[/bold] {shown(', '.join(models))} in {shown(path)}")
    out.print(
        f"  {size:,} bytes. On the board, with Python, numpy and onnxruntime:\n"
        f"  python3 -m zipfile -e {shown(shlex.quote(path.name))} . && cd sdedge-bundle && "
        "python3 board.py"
    )
    if json_output:
        print_json({"bundle": str(path), "size_bytes": size, "models": models})
