"""How the memory of a network is shown."""

from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render.figures import kilobytes

if TYPE_CHECKING:
    from sdedge.pipeline.memory import MemoryResult


def show_memory(out: Console, result: "MemoryResult", *, as_int8: bool) -> None:
    """RAM, flash, and the tensors that fill the RAM at its peak."""
    graph, plan = result.graph, result.plan
    precision = f"as it would be in {graph.precision}" if as_int8 else graph.precision
    proof = "no order needs less" if plan.optimal else "the best order found"
    out.print(
        f"[bold]{shown(result.model)}[/bold], {precision}, {len(graph.operators)} operators, "
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
            kilobytes(result.flash_bytes),
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
