"""sdedge export"""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json

if TYPE_CHECKING:
    from sdedge.pipeline.export import ExportResult


@guarded
def export(
    format: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="NAME", help="onnx (always written); may be repeated."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="As --format onnx.")] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise it as well, and compare accuracy and latency."),
    ] = False,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that --int8 takes ranges from.")
    ] = 512,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Put the normalisation inside the graph.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Where the images are now; default: as in training.")
    ] = None,
    data_root: options.DataRoot = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Check on this many test images (default: all).")
    ] = None,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Export the trained network of a run, and check the file on the test images."""
    out = console(json_output=json_output)
    result = export_and_show(
        out,
        run=run,
        formats=[*(format or ()), *(["onnx"] if onnx else ())],
        int8=int8,
        calibration_images=calibration_images,
        normalize=normalize,
        dataset=dataset,
        data_root=data_root,
        limit=limit,
    )
    if json_output:
        print_json(result.to_dict())


def export_and_show(out: Console, **arguments: Any) -> "ExportResult":
    """Export, and show on `out` how it goes and what comes of it; see `sdedge.export`."""
    from sdedge.cli.render.export import export_reporter
    from sdedge.pipeline.export import export as run_export

    with export_reporter(out) as reporter:
        return run_export(reporter=reporter, **arguments)
