"""sdedge: search, train, export and profile small convolutional networks for edge devices.

    import sdedge

    cell = sdedge.search(dataset="photos/", target="pizero2w", max_latency_ms=10)
    network = sdedge.train(cell)
    export = sdedge.export(network, int8=True)
    reports = sdedge.predict_latency(export, target="pizero2w")

Every function returns a frozen result, prints nothing, reports to a callable (`reporter`), and
raises an `SdedgeError`. Nothing is imported before it is used: `import sdedge` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdedge.version import __version__

if TYPE_CHECKING:
    from sdedge.config import SearchConfig, TrainConfig
    from sdedge.deploy.artifact import Artifact
    from sdedge.deploy.fit.evaluate import TargetReport
    from sdedge.errors import (
        BenchError,
        ConfigError,
        DataError,
        ExportError,
        GenotypeError,
        InterruptedRunError,
        KernelError,
        RunError,
        SdedgeError,
        TargetError,
    )
    from sdedge.events import Event, Notice, Progressed, Reporter, silent
    from sdedge.genotype import Genotype, load_genotype
    from sdedge.pipeline.bench import BenchResult, bench
    from sdedge.pipeline.compare import ComparisonResult, compare
    from sdedge.pipeline.export import ExportResult, export
    from sdedge.pipeline.network import load_network
    from sdedge.pipeline.predict import predict_latency
    from sdedge.pipeline.search import SearchResult, search
    from sdedge.pipeline.train import TrainResult, train

_MODULES = {
    "sdedge.config": ("SearchConfig", "TrainConfig"),
    "sdedge.deploy.artifact": ("Artifact",),
    "sdedge.deploy.fit.evaluate": ("TargetReport",),
    "sdedge.errors": (
        "BenchError",
        "ConfigError",
        "DataError",
        "ExportError",
        "GenotypeError",
        "InterruptedRunError",
        "KernelError",
        "RunError",
        "SdedgeError",
        "TargetError",
    ),
    "sdedge.events": ("Event", "Notice", "Progressed", "Reporter", "silent"),
    "sdedge.genotype": ("Genotype", "load_genotype"),
    "sdedge.pipeline.bench": ("BenchResult", "bench"),
    "sdedge.pipeline.compare": ("ComparisonResult", "compare"),
    "sdedge.pipeline.export": ("ExportResult", "export"),
    "sdedge.pipeline.network": ("load_network",),
    "sdedge.pipeline.predict": ("predict_latency",),
    "sdedge.pipeline.search": ("SearchResult", "search"),
    "sdedge.pipeline.train": ("TrainResult", "train"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Artifact",
    "BenchError",
    "BenchResult",
    "ComparisonResult",
    "ConfigError",
    "DataError",
    "Event",
    "ExportError",
    "ExportResult",
    "Genotype",
    "GenotypeError",
    "InterruptedRunError",
    "KernelError",
    "Notice",
    "Progressed",
    "Reporter",
    "RunError",
    "SdedgeError",
    "SearchConfig",
    "SearchResult",
    "TargetError",
    "TargetReport",
    "TrainConfig",
    "TrainResult",
    "__version__",
    "bench",
    "compare",
    "export",
    "load_genotype",
    "load_network",
    "predict_latency",
    "search",
    "silent",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sdedge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
