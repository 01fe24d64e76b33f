"""The size of a network: that of a run, or of a genotype at the width and depth of the papers."""

from dataclasses import dataclass
from typing import Any

from sdedge.bounds import Classes
from sdedge.checkpoint import read_checkpoint
from sdedge.config import TrainConfig, check_setting
from sdedge.deploy.fit.requirements import Requirements
from sdedge.errors import ConfigError
from sdedge.genotype import load_genotype, named_run
from sdedge.run import RunDir, read_json
from sdedge.space.counting import Counts
from sdedge.space.darts.counting import count_genotype
from sdedge.space.saved import NetworkDescription

_PAPERS_SIZE: dict[str, Any] = {
    "cells": 20,
    "channels": 36,
    "classes": 10,
    "stem": "cifar",
    "image_size": 32,
}
_PAPERS = "the papers' networks for CIFAR-10"


@dataclass(frozen=True, kw_only=True)
class CountResult:
    """Parameters and multiply-accumulates of a network, and the size that it has."""

    genotype: str  # as it was named
    counts: Counts
    size: dict[str, Any]  # cells, channels, classes, stem, image_size
    source: str  # of what was not given, in words

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "genotype": self.genotype,
            "params": self.counts.params,
            "macs": self.counts.macs,
            **self.size,
            "size_from": self.source,
        }


def count(
    genotype: str,
    *,
    cells: int | None = None,
    channels: int | None = None,
    classes: int | None = None,
    stem: str | None = None,
    image_size: int | None = None,
) -> CountResult:
    """Count parameters and multiply-accumulates, the auxiliary head left out.

    For a run directory, of its own network; for a cell alone, of the papers' for CIFAR-10; but for
    what is given. `image_size` is in pixels. Raises GenotypeError for what is no genotype,
    ConfigError for a size out of range, RunError for a damaged run.
    """
    cell = load_genotype(genotype)
    given = {
        "cells": cells,
        "channels": channels,
        "classes": classes,
        "stem": stem,
        "image_size": image_size,
    }
    path = named_run(genotype)
    own, source = _own_size(RunDir(path)) if path else ({}, _PAPERS)
    size = {**_PAPERS_SIZE, **own, **{k: v for k, v in given.items() if v is not None}}
    if size["classes"] < 2:
        raise ConfigError(f"classes is {size['classes']}; it must be at least 2")
    check_setting("classes", size["classes"], Classes)
    TrainConfig(**{name: value for name, value in size.items() if name != "classes"})
    counts = count_genotype(cell, **size)
    return CountResult(genotype=genotype, counts=counts, size=size, source=source)


def _own_size(run: RunDir) -> tuple[dict[str, Any], str]:
    """Width, depth and the rest of the network of `run` as far as known, and where from."""
    if run.weights.exists():
        header = read_checkpoint(run.weights).header
        network = NetworkDescription.from_dict(header, source=str(run.weights))
        sizes = {name: getattr(network, name) for name in _PAPERS_SIZE}
        return {**sizes, "classes": len(network.classes)}, "the run's trained network"
    if trained := run.phases().get("train"):
        config = TrainConfig.from_dict(trained, source=str(run.config))
        known = {name: getattr(config, name) for name in ("cells", "channels", "stem")}
        if config.image_size is not None:
            known["image_size"] = config.image_size
        return known, "the run's training, which is not finished"
    plan = read_json(run.budget) if run.budget.exists() else {}
    if chosen := plan.get("chosen"):
        Requirements.from_dict(plan, source=str(run.budget))  # checks the sizes in it, too
        names = ("cells", "channels", "classes", "image_size")
        return {name: {**plan, **chosen}[name] for name in names}, "the run's budget"
    return {}, f"{_PAPERS}, as the run has none yet"
