"""Settings of a search. The defaults are the protocol of section IV-A of Semantic-DARTS."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

from sdedge import bounds
from sdedge.config import presets
from sdedge.config.option import option
from sdedge.config.phase import PhaseConfig
from sdedge.config.validation import require
from sdedge.names import find_name
from sdedge.operations import DARTS, NAS_BENCH_201, NONE, Space, check_search_set

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

    space: Space = option(DARTS, "darts (default), or nas-bench-201, whose cells are known.")
    # Of an edge besides `none`; None: those of the space. Registered ones are known, too.
    operations: bounds.OperationNames | None = None
    strategy: bounds.Name = option("darts", "darts (default); see `sdedge strategies`; + combines.")
    task: bounds.Name = option(
        "semantic",
        "semantic (default), classification, masked-classification, mim, reconstruction, rotation, "
        "colorization, jigsaw, joint-rotation, joint-colorization, joint-jigsaw.",
    )
    impl: Literal["auto", "triton", "cpu", "reference"] = option(
        "auto", "auto (fused, as the device has it), triton, cpu, or reference (plain torch)."
    )
    patch_size: bounds.PatchSize = option(8, "Side of a masked patch, pixels.")
    # The paper's for CIFAR-10; 0.7 for CIFAR-100.
    mask_ratio: bounds.OpenShare = option(0.6, "Share of patches hidden.")
    # Of normalised pixels.
    mask_fill: bounds.Pixel = option(0.0, "Value of hidden pixels: 0 (paper) or 1 (authors' code).")
    weight_lr: bounds.Positive = 0.025
    weight_lr_min: bounds.NotNegative = 0.001
    weight_momentum: bounds.ShareBelow1 = 0.9
    weight_decay: bounds.NotNegative = 3e-4
    gradient_clip: bounds.Positive = 5.0
    alpha_lr: bounds.Positive = 3e-4
    alpha_betas: bounds.Betas = (0.5, 0.999)
    alpha_decay: bounds.NotNegative = 1e-3
    # Share of the epochs, from the first, that train weights alone: they learn before skips win.
    alpha_warmup: bounds.Share = 0.0
    valid_images: bounds.Images | None = option(
        None, "Images that score each epoch (default: the search half)."
    )
    # The budget that the network is to fit; None: no limit.
    target: bounds.PathText | None = option(
        None, "Device to fit, by name or profile; see `sdedge targets`.", metavar="NAME"
    )
    max_latency_ms: bounds.LatencyMs | None = option(None, "The longest latency, on the target.")
    max_ram_kb: bounds.Kilobytes | None = option(None, "The most RAM, in kB of 1024 bytes.")
    max_flash_kb: bounds.Kilobytes | None = option(None, "The most flash, in kB of 1024 bytes.")
    max_params: bounds.Parameters | None = option(None, "The most parameters.")
    confidence: bounds.Confidence | None = option(
        None,
        "Hold the limit on latency against the upper end of this interval of the prediction, such "
        "as 0.9 (default: against its middle).",
        metavar="SHARE",
    )
    int8: bool | None = option(
        None, "What the budget is for (default: as the target prefers).", flag="--int8/--fp32"
    )
    # Each epoch's cell is looked up when the search ends.
    benchmark_table: bounds.PathText | None = option(
        None, "In nas-bench-201: what its cells reach; CSV or NATS-Bench.", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "at least 3 in a search (with fewer, every cell is a reduction)"
        require(self.space != DARTS or self.cells >= 3, "cells", self.cells, rule)
        latency = self.max_latency_ms
        rule = "given with a target: the latency is that of a device (--target NAME)"
        require(latency is None or self.target is not None, "max_latency_ms", latency, rule)
        share = self.confidence
        rule = "given with a limit on latency (--max-latency-ms)"
        require(share is None or latency is not None, "confidence", share, rule)
        rule = "left out in nas-bench-201: only cells of the DARTS space are priced"
        tabled = self.space == NAS_BENCH_201
        require(not (tabled and self.budgeted), "a target or a limit", "given", rule)
        if self.operations is not None:
            check_search_set((NONE, *self.operations), self.space)
            rule = "left out with a target or a limit: only operations of the space have prices"
            require(not self.budgeted, "operations", ", ".join(self.operations), rule)
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
        if find_name(str(overrides.get("space")), (NAS_BENCH_201,)) is None:
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
