"""Memory of a network on a device: activations in RAM, weights and the graph's structure in flash.

Counted are the tensors that exist at once, the image included, for one image. An elementwise
operator writes over an input of the same size that nothing else needs. Not counted is what a
runtime's kernels and its own tables take besides (a target's `runtime_ram_bytes`). For scale: for
the ResNet-8 of MLPerf Tiny in int8 this gives 48 KiB, STM32Cube.AI 9.1 reports 62.5 KiB with the
scratch of its kernels.
"""

from dataclasses import dataclass

from sdedge.deploy.ir.graph import Graph, Value
from sdedge.deploy.memory.arena import arena_bytes
from sdedge.deploy.memory.buffers import Buffers
from sdedge.deploy.memory.schedule import best_order

# In ST's model zoo, STM32Cube.AI 9.1 takes 22.2 KiB more code for ResNet-32 than for ResNet-8, that
# is for 36 more operators with 986 more output channels (our count); a channel needs a multiplier
# and a shift of four bytes each (CMSIS-NN).
OPERATOR_BYTES = 412
CHANNEL_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """The order of operators with the lowest peak of activation bytes, and that peak's place."""

    peak_ram_bytes: int  # tensors packed without gaps
    arena_bytes: int  # placed in one block by TFLite Micro's greedy planner, gaps included
    order: tuple[str, ...]  # names of operators
    peak_operator: str
    live: tuple[Value, ...]  # in memory while it runs, largest first; they add up to the peak
    optimal: bool  # no order has a lower peak; if not, the search gave up
    file_order_bytes: int  # the peak in the order of the file
    file_order_arena_bytes: int  # that peak in one block, gaps included


def plan_memory(graph: Graph) -> MemoryPlan:
    """Find the order that needs the least RAM, and what is there at its worst moment."""
    buffers = Buffers(graph)
    memory = buffers.memory()
    schedule = best_order(memory)
    moments = memory.moments(schedule.order)
    alive = [buffers.alive(moment) for moment in moments]
    peak = max(range(len(alive)), key=lambda i: sum(value.size_bytes for value in alive[i]))
    file_order = range(len(graph.operators))
    return MemoryPlan(
        peak_ram_bytes=schedule.peak_bytes,
        arena_bytes=arena_bytes(buffers.lifetimes(moments)),
        order=tuple(graph.operators[i].name for i in schedule.order),
        peak_operator=graph.operators[moments[peak].operator].name,
        live=tuple(sorted(alive[peak], key=lambda value: (-value.size_bytes, value.name))),
        optimal=schedule.optimal,
        file_order_bytes=memory.peak(file_order),
        file_order_arena_bytes=arena_bytes(buffers.lifetimes(memory.moments(file_order))),
    )


def flash_bytes(graph: Graph, code_bytes: int = 0, *, operator_bytes: int = OPERATOR_BYTES) -> int:
    """Weights, the graph's structure as a runtime stores it, and the runtime's own code.

    Weights are exact (78,744 bytes for ResNet-8 in int8; STM32Cube.AI 9.1 reports 76.9 KiB). The
    structure is an estimate: `operator_bytes` for each operator (a target has its own) and
    CHANNEL_BYTES for each output channel of int8 weights.
    """
    channels = sum(
        (*graph.values[operator.outputs[0]].shape, 1)[-2 if operator.kind == "linear" else 1]
        for operator in graph.operators
        if operator.precision == "int8" and operator.macs
    )
    structure = operator_bytes * len(graph.operators) + CHANNEL_BYTES * channels
    return graph.weight_bytes + structure + code_bytes
