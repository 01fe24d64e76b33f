"""sdedge export"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from sdedge.cli import options
from sdedge.cli.output import console, guarded, percent, print_json
from sdedge.errors import ExportError


@guarded
def export(
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX (the default and only format).")
    ] = True,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Put the normalisation inside the graph.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Where the test images are now; default: as in training.")
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
    value = start_export(out, run, dataset, data_root, normalize=normalize, limit=limit)
    if json_output:
        print_json(value)


def start_export(
    out: Console,
    path: Path | None,
    dataset: str | None = None,
    data_root: str | None = None,
    *,
    normalize: bool = False,
    limit: int | None = None,
) -> dict[str, Any]:
    """Export, tell about it on `out`, and give the JSON summary."""
    from dataclasses import replace

    from sdedge.cli.phases import open_dataset
    from sdedge.config import TrainConfig
    from sdedge.deploy.verify import export_and_verify
    from sdedge.run import RunDir, write_json
    from sdedge.space.saved import load_network

    run = RunDir.open(path)
    network, description = load_network(run.made_by(run.weights, "train"))
    config = TrainConfig.from_dict(run.settings("train"), source=str(run.config))
    config = replace(
        config, dataset=dataset or config.dataset, data_root=data_root or config.data_root
    )
    data = open_dataset(config, out)
    if data.classes != description.classes:
        raise ExportError(
            f"{data.name} has the classes {', '.join(data.classes)}, but the network was trained "
            f"on {', '.join(description.classes)}; give the set it was trained on with --dataset"
        )
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("checking on test images", total=None)
        report = export_and_verify(
            network,
            description,
            data.test,
            run.onnx,
            normalize=normalize,
            limit=limit,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_json(run.path / "export.json", report.to_dict())
    (run.path / "bench.json").unlink(missing_ok=True)  # the figures of an earlier export
    out.print(f"[bold]Exported[/bold] {escape(str(run.onnx))}")
    out.print(
        f"  {report.file_size_bytes:,} bytes, {report.size_ratio:.3f} times its "
        f"{report.parameters:,} weights of 4 bytes; {sum(report.nodes.values())} nodes, "
        f"opset {report.opset}"
    )
    out.print(
        f"  accuracy on {report.images:,} test images: ONNX Runtime "
        f"{percent(report.onnx_accuracy)}, torch {percent(report.torch_accuracy)}; "
        f"{report.differing_predictions} predictions differ, logits by at most "
        f"{report.max_abs_logit_difference:.1e}"
    )
    return {"run": str(run.path), "model": str(run.onnx), **report.to_dict()}
