"""sdedge bundle"""

import shlex
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
    from sdedge.cli.render.images import ConsoleReporter
    from sdedge.pipeline import bundle as packing

    out = console(json_output=json_output)
    with ConsoleReporter(out) as reporter:
        result = packing.bundle(run, file, dataset=dataset, data_root=data_root, reporter=reporter)
    out.print(f"[bold]Bundled[/bold] {shown(', '.join(result.models))} in {shown(result.path)}")
    out.print(
        f"  {result.size_bytes:,} bytes. On the board, with Python, numpy and onnxruntime:\n"
        f"  python3 -m zipfile -e {shown(shlex.quote(result.path.name))} . && cd sdedge-bundle && "
        "python3 board.py"
    )
    if json_output:
        print_json(result.to_dict())
