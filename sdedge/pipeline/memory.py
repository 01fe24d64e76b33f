"""RAM and flash that an exported network needs, and what fills the RAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.deploy.ir.graph import Graph
from sdedge.deploy.memory.plan import MemoryPlan, flash_bytes, plan_memory
from sdedge.pipeline.exported import ExportedNetwork, ModelLike


@dataclass(frozen=True, kw_only=True)
class MemoryResult:
    """A network and its memory; `flash_bytes` is without a runtime's code."""

    run: Path | None
    model: Path
    graph: Graph
    plan: MemoryPlan
    flash_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        graph, plan = self.graph, self.plan
        return {
            "model_path": str(self.model),
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
            "flash_bytes": self.flash_bytes,
            "weight_bytes": graph.weight_bytes,
            "parameters": graph.parameters,
            "operators": len(graph.operators),
            "unknown_operators": dict(graph.unknown),
        }


def measure_memory(
    model: ModelLike = None, *, as_int8: bool = False, shape: Sequence[int] | None = None
) -> MemoryResult:
    """Plan the memory of an exported network, for one image.

    `model` and `shape` are those of `predict_latency`. `as_int8` plans the network as it would
    be, quantised throughout. Raises RunError where there is no export, and ExportError for a file
    that is no classifier.
    """
    network = ExportedNetwork.find(model, shape)
    artifact = network.artifacts[0]
    graph, plan = artifact.graph, artifact.memory
    if as_int8:
        graph = graph.as_int8()
        plan = plan_memory(graph)
    return MemoryResult(
        run=network.folder,
        model=network.model,
        graph=graph,
        plan=plan,
        flash_bytes=flash_bytes(graph),
    )
