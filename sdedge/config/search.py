"""Settings of a search. The defaults are the protocol of section IV-A of Semantic-DARTS."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

from sdedge import bounds
from sdedge.config import presets
from sdedge.config.phase import PhaseConfig, check_even
from sdedge.config.validation import require
from sdedge.names import find_name

__all__ = ["LIMIT_NAMES", "SearchConfig"]

# What people call the limits of a budget, and what a device itself has.
LIMIT_NAMES = {
    "max_latency_ms": "latency",
    "max_ram_kb": "RAM",
    "max_flash_kb": "flash",
    "max_params": "parameters",
    "ram": "RAM of the device",
    "flash": "flash of the device",
}
_LENGTHS_AND_RATES = frozenset({"epochs", "batch_size", "weight_lr", "weight_lr_min", "alpha_lr"})


@dataclass(frozen=True, kw_only=True)
class SearchConfig(PhaseConfig):
    """A search: supernet, task, strategy and the two optimizers."""

    space: Literal["darts", "nas-bench-201"] = "darts"
    strategy: bounds.Name = "darts"
    task: bounds.Name = "semantic"
    channels: bounds.Channels = 16
    cells: bounds.Cells = 8  # of the supernet; in nas-bench-201 of each of its three stages
    impl: Literal["auto", "triton", "cpu", "reference"] = "auto"
    patch_size: bounds.PatchSize = 8
    mask_ratio: bounds.OpenShare = 0.6  # the paper's for CIFAR-10; 0.7 for CIFAR-100
    # Of normalised pixels; the paper's text has 0, the authors' code 1.
    mask_fill: bounds.Pixel = 0.0
    weight_lr: bounds.Positive = 0.025
    weight_lr_min: bounds.NotNegative = 0.001
    weight_momentum: bounds.ShareBelow1 = 0.9
    weight_decay: bounds.NotNegative = 3e-4
    gradient_clip: bounds.Positive = 5.0
    alpha_lr: bounds.Positive = 3e-4
    alpha_betas: tuple[bounds.ShareBelow1, bounds.ShareBelow1] = (0.5, 0.999)
    alpha_decay: bounds.NotNegative = 1e-3
    # Share of the epochs, from the first, that train weights alone: they learn before skips win.
    alpha_warmup: bounds.Share = 0.0
    # Of the search half, for each epoch's accuracy; None: all.
    valid_images: bounds.Images | None = None
    # The budget that the network is to fit; None: no limit. 1 kB is 1024 bytes.
    target: bounds.PathText | None = None  # device profile, by name or file
    max_latency_ms: bounds.LatencyMs | None = None
    max_ram_kb: bounds.Kilobytes | None = None
    max_flash_kb: bounds.Kilobytes | None = None
    max_params: bounds.Parameters | None = None
    # Share of networks that the limit on latency is to hold for; None: held against the middle of
    # the prediction.
    confidence: bounds.Confidence | None = None
    int8: bool | None = None  # what is to be deployed; None: as the target prefers, else fp32
    # Where cells of nas-bench-201 are looked up, each epoch's when the search ends; a file.
    benchmark_table: bounds.PathText | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_even(self.channels)
        rule = "at least 3 in a search (with fewer, every cell is a reduction)"
        require(self.space != "darts" or self.cells >= 3, "cells", self.cells, rule)
        latency = self.max_latency_ms
        rule = "given with a target: the latency is that of a device (--target NAME)"
        require(latency is None or self.target is not None, "max_latency_ms", latency, rule)
        share = self.confidence
        rule = "given with a limit on latency (--max-latency-ms)"
        require(share is None or latency is not None, "confidence", share, rule)
        rule = "left out in nas-bench-201: only cells of the DARTS space are priced"
        tabled = self.space == "nas-bench-201"
        require(not (tabled and self.budgeted), "a target or a limit", "given", rule)
        rule = "left out: it holds cells of nas-bench-201 (--space nas-bench-201)"
        table = self.benchmark_table
        require(tabled or table is None, "benchmark_table", table, rule)
        rule = "left out without a target or a limit: it says what a budget is for"
        require(self.int8 is None or self.budgeted, "int8", self.int8, rule)

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that there are, by name."""
        names = ("max_latency_ms", "max_ram_kb", "max_flash_kb", "max_params")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def budgeted(self) -> bool:
        """Whether the network is to fit limits, or a device."""
        return self.target is not None or bool(self.limits)

    @classmethod
    def from_preset(
        cls,
        preset: str,
        overrides: Mapping[str, Any],
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """The preset as it is in the space that `overrides` name.

        `defaults` are a paper's: of their lengths and rates, which belong together, a shorter
        preset takes none.
        """
        if preset != "paper":
            defaults = {k: v for k, v in defaults.items() if k not in _LENGTHS_AND_RATES}
        if find_name(str(overrides.get("space")), ("nas-bench-201",)) is None:
            return super().from_preset(preset, overrides, defaults)
        # The authors' 100 epochs, and the depth of the benchmark; else one cell a stage.
        cells = 5 if preset == "paper" else 1
        return super().from_preset(
            preset, {"cells": cells, **overrides}, {"epochs": 100, **defaults}
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """`paper`: the published protocol. `quick`, `demo`: minutes on two CPU cores."""
        return presets.SEARCH
