"""What a network is held to: can any of the space meet it, and at what width and depth.

All figures are of real graphs: a network with random weights is exported and held against device
and limits, as the trained one will be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdedge import bounds
from sdedge.config import SearchConfig
from sdedge.deploy.fit.check import Check, Fit, Limits, check_fit, option
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.int8.quantize import quantize
from sdedge.deploy.int8.ranges import Range
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.ir.program import INPUT, Program
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.targets.target import Target, load_target, parse_target
from sdedge.errors import ConfigError, RunError, TargetError
from sdedge.genotype import Genotype, published
from sdedge.operations import DARTS_OPERATIONS, POOL, SKIP, get_operation
from sdedge.schema import to_record
from sdedge.space.darts.cell import NODES
from sdedge.space.saved import NetworkDescription

# Sizes that are tried: up to the papers' width (48, ImageNet) and depth (20, CIFAR-10).
CHANNELS = range(2, 50, 2)
CELLS = (3, 4, 5, 6, 8, 11, 14, 20)
# Its network takes what those of random cells take on average, within an eighth, in latency, RAM,
# flash and parameters.
AVERAGE_CELL = "PDARTS"
_SIGNED = {"Conv", "Gemm", "Sub", "Div"}  # their results may be negative whatever they read

_SKIP, _POOL = (
    next(name for name in DARTS_OPERATIONS if get_operation(name).group == group)
    for group in (SKIP, POOL)
)
# Cells that need least: of flash and parameters with skips, of RAM with pools, because nodes that
# compute the same are computed once.
SMALLEST_CELLS = [
    Genotype(
        normal=((operation, 0), (operation, 1)) * NODES,
        reduce=((_POOL, 0), (_POOL, 1)) * NODES,
    )
    for operation in (_SKIP, _POOL)
]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A network of some width and depth, and what it takes."""

    channels: int
    cells: int
    macs: int
    fit: Fit

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        found = {check.limit: check.found for check in self.fit.checks}
        return {"channels": self.channels, "cells": self.cells, "macs": self.macs, "found": found}


@dataclass(frozen=True, kw_only=True)
class StoredSize:
    """`Size` in budget.json, as far as it is read again."""

    channels: bounds.Channels
    cells: bounds.Cells
    macs: bounds.Natural
    found: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """budget.json, but for its prices."""

    target: str | None
    profile: dict[str, Any] | None
    limits: dict[str, Any]
    confidence: bounds.Confidence | None = None
    precision: Precision
    classes: bounds.Classes
    image_size: bounds.ImageSize
    sizes: tuple[StoredSize, ...] = ()
    chosen: StoredSize | None = None


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What the deployed network is held to, and what it is asked to do."""

    target: Target | None
    limits: Limits
    precision: Precision
    classes: int
    image_size: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the whole profile: its file may change before the export."""
        return {
            "target": self.target and self.target.name,
            "profile": self.target and self.target.to_dict(),
            "limits": self.limits.active,
            "confidence": self.limits.confidence,
            "precision": self.precision,
            "classes": self.classes,
            "image_size": self.image_size,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str) -> "Requirements":
        """Read the JSON form; RunError or TargetError naming `source` when it is damaged."""
        try:
            stored = to_record(data, _Stored, source=f"{source} is damaged")
            return cls(
                target=None
                if stored.target is None
                else parse_target(stored.profile or {}, name=stored.target, source=source),
                limits=Limits(**stored.limits, confidence=stored.confidence),
                precision=stored.precision,
                classes=stored.classes,
                image_size=stored.image_size,
            )
        except (TypeError, ConfigError) as error:  # TypeError: an unknown limit
            raise RunError(f"{source} is damaged: {error}") from error

    def measure(self, genotype: Genotype, channels: int, cells: int) -> Size:
        """What the network of `genotype` takes at this width and depth."""
        description = NetworkDescription(
            genotype=genotype,
            channels=channels,
            cells=cells,
            stem="cifar",
            classes=tuple(map(str, range(self.classes))),
            image_size=self.image_size,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            dataset="",
        )
        program = to_program(description.build(), description)
        if self.precision == "int8":
            program = quantize(program, _likely_ranges(program))
        graph = read_graph(program_model(program, description).SerializeToString())
        fit = check_fit(graph, self.target, self.limits)
        return Size(channels=channels, cells=cells, macs=graph.macs, fit=fit)

    def check_possible(self) -> None:
        """Raise ConfigError, with what the smallest networks of the space need, if none fits.

        Raises ConfigError as well when there is no limit, and the device has room for everything.
        """
        average = published()[AVERAGE_CELL].genotype
        if not self.limits.active and self.measure(average, CHANNELS[-1], CELLS[-1]).fit.fits:
            device = self.target.name if self.target else "no device"
            raise ConfigError(
                f"{device} limits nothing here, as it has room for every network of this space; "
                "give a limit, such as --max-latency-ms"
            )
        nearest = self._nearest()
        if not nearest.fits:
            needs = " and ".join(_need(check) for check in nearest.checks if not check.fits)
            runs = self.target.precisions if self.target else PRECISIONS
            quantised = "int8" in runs and replace(self, precision="int8")._nearest().fits
            raise ConfigError(
                f"no network of this space meets the budget: the nearest ({CELLS[0]} cells of "
                f"{CHANNELS[0]} channels, skips and pools alone, {self.precision}, images of "
                f"{self.image_size} px) needs {needs}"
                + ("; in int8 it fits, so search with --int8" if quantised else "")
            )

    def _nearest(self) -> Fit:
        """Of the smallest networks, the one that breaks its limits least."""
        fits = (self.measure(cell, CHANNELS[0], CELLS[0]).fit for cell in SMALLEST_CELLS)
        return min(fits, key=lambda fit: max(check.found / check.allowed for check in fit.checks))

    def widest(self, genotype: Genotype, cells: int, max_channels: int) -> Size | None:
        """The widest network of `cells` cells and at most `max_channels` that fits, if any.

        Tried one by one: on some devices odd widths are slow, and the next one up is faster.
        """
        widths = (channels for channels in reversed(CHANNELS) if channels <= max_channels)
        sizes = (self.measure(genotype, channels, cells) for channels in widths)
        return next((size for size in sizes if size.fit.fits), None)

    def sizes(self, genotype: Genotype) -> list[Size]:
        """The widest network that fits, for each depth from shallow to deep at which one does.

        A deeper network has more cells at every resolution, so it is taken to be no wider, but
        for one step.
        """
        sizes: list[Size] = []
        max_channels = CHANNELS[-1]
        for cells in CELLS:
            size = self.widest(genotype, cells, max_channels)
            if size is None:
                break
            sizes.append(size)
            max_channels = size.channels + CHANNELS.step
        return sizes


def _likely_ranges(program: Program) -> dict[str, Range]:
    """A range for each activation; of all of it, only the signs decide which nodes int8 needs."""
    ranges = {INPUT: (-1.0, 1.0)}
    for node in program.nodes:
        signed = node.op_type in _SIGNED or any(ranges[name][0] < 0 for name in node.inputs)
        ranges[node.output] = (-1.0 if signed and node.op_type != "Relu" else 0.0, 1.0)
    return ranges


def largest(
    sizes: Sequence[Mapping[str, Any]], channels: int | None = None, cells: int | None = None
) -> Mapping[str, Any] | None:
    """Of the sizes that `Requirements.sizes` returns, in JSON, the one that computes most.

    Of networks of one family under one memory limit, those with more multiply-accumulates tend to
    be the more accurate (MCUNet, Lin et al., 2020, section 3.1). With `channels` or `cells`, of
    those that are as wide or exactly as deep; None if there are none.
    """
    eligible = [
        size
        for size in sizes
        if size["channels"] >= (channels or 0) and cells in (None, size["cells"])
    ]
    return max(eligible, key=lambda size: size["macs"], default=None)


def require(config: SearchConfig, classes: int, image_size: int) -> Requirements:
    """What the settings of a search ask for.

    Raises TargetError for a target that is unknown or damaged, or does not run the precision.
    """
    target = None if config.target is None else load_target(config.target)
    runs = target.precisions if target else PRECISIONS
    precision = runs[0] if config.int8 is None else "int8" if config.int8 else "fp32"
    if target and precision not in runs:
        raise TargetError(
            f"{target.name} ({target.runtime}) runs {' and '.join(runs)}, not {precision}; "
            f"search with --{runs[0]}"
        )
    return Requirements(
        target=target,
        limits=Limits(**config.limits, confidence=config.confidence),
        precision=precision,
        classes=classes,
        image_size=image_size,
    )


def _need(check: Check) -> str:
    needed = f"{math.ceil(100 * check.found) / 100:.2f}".removesuffix(".00")
    if check.limit in ("ram", "flash"):
        return f"{needed} {check.unit} of {check.limit}, and the device has {check.allowed:,.0f}"
    return f"{option(check.limit)} {needed} (it is {check.allowed:.10g})"
