"""sdedge memory"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, guarded, kilobytes, print_json, shown, table
from sdedge.errors import ConfigError

if TYPE_CHECKING:
    from sdedge.deploy.ir.graph import Graph
    from sdedge.deploy.memory.plan import MemoryPlan


@guarded
def memory(
    model: Annotated[
        Path | None, typer.Option(help="Any ONNX classifier; default: the run's model.onnx.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="As it would be, quantised throughout.")
    ] = False,
    shape: options.Shape = None,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Find the RAM and flash that an exported network needs, and what fills the RAM."""
    from sdedge.deploy.formats.onnx.reader.graph import read_graph
    from sdedge.deploy.memory.plan import flash_bytes, plan_memory
    from sdedge.run import RunDir

    image = options.image_shape(shape)
    if model is not None and run is not None:
        raise ConfigError(f"give --model {model} or --run {run}, not both")
    if model is None:
        directory = RunDir.open(run)
        model = directory.require(directory.onnx, "export")
    graph = read_graph(model, image)
    if int8:
        graph = graph.as_int8()
    plan, flash = plan_memory(graph), flash_bytes(graph)
    _report(console(json_output=json_output), model, graph, plan, flash, as_int8=int8)
    if json_output:
        print_json(_summary(model, graph, plan, flash))


def _summary(model: Path, graph: "Graph", plan: "MemoryPlan", flash: int) -> dict[str, Any]:
    return {
        "model_path": str(model),
        "precision": graph.precision,
        "peak_ram_bytes": plan.peak_ram_bytes,
        "arena_bytes": plan.arena_bytes,
        "file_order_bytes": plan.file_order_bytes,
        "file_order_arena_bytes": plan.file_order_arena_bytes,
        "optimal": plan.optimal,
        "peak_operator": plan.peak_operator,
        "live_at_peak": [
            {"name": value.name, "shape": list(value.shape), "size_bytes": value.size_bytes}
            for value in plan.live
        ],
        "flash_bytes": flash,
        "weight_bytes": graph.weight_bytes,
        "parameters": graph.parameters,
        "operators": len(graph.operators),
        "unknown_operators": dict(graph.unknown),
    }


def _report(
    out: Console, model: Path, graph: "Graph", plan: "MemoryPlan", flash: int, *, as_int8: bool
) -> None:
    precision = f"as it would be in {graph.precision}" if as_int8 else graph.precision
    proof = "no order needs less" if plan.optimal else "the best order found"
    out.print(
        f"[bold]{shown(model)}[/bold], {precision}, {len(graph.operators)} operators, "
        f"{graph.parameters:,} parameters with batch norm folded"
    )
    rows = [
        ("peak RAM", kilobytes(plan.peak_ram_bytes), f"tensors alive at once; {proof}"),
        ("in one block", kilobytes(plan.arena_bytes), "placed as TFLite Micro does, with gaps"),
        (
            "in the file's order",
            kilobytes(plan.file_order_bytes),
            f"peak RAM without reordering; in one block {kilobytes(plan.file_order_arena_bytes)}",
        ),
        (
            "flash",
            kilobytes(flash),
            "weights and the graph as STM32Cube.AI stores it, without its code",
        ),
        ("weights", kilobytes(graph.weight_bytes), ""),
    ]
    out.print(table("", ("memory", "size", ""), rows), soft_wrap=False)
    out.print(
        table(
            f"in RAM at the peak, while {plan.peak_operator} runs",
            ("tensor", "shape", "size", "share"),
            (
                (
                    value.name,
                    "x".join(map(str, value.shape[1:])),
                    kilobytes(value.size_bytes),
                    f"{value.size_bytes / plan.peak_ram_bytes:.0%}",
                )
                for value in plan.live
            ),
        ),
        soft_wrap=False,
    )
    if graph.unknown:
        names = ", ".join(f"{name} ({count})" for name, count in graph.unknown.items())
        out.print(f"[yellow]Without a cost model: {shown(names)}; taken not to work in place.[/]")
