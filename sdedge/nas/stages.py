"""A search in stages: each learns in its own way, and what it learned is where the next begins.

To the epoch loop it is one phase: epochs are counted through, and a checkpoint says which stage it
is of.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdedge.checkpoint import under_prefix, with_prefix
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.data.provenance import ImageRecord
from sdedge.errors import RunError
from sdedge.genotype import Architecture
from sdedge.loop import Phase
from sdedge.nas.adaptive import AdaptiveSearch
from sdedge.nas.budget import Costs
from sdedge.nas.phase import SearchPhase
from sdedge.nas.record import SearchRecord
from sdedge.nas.strategies import strategy_for
from sdedge.nas.strategy import OperationMask, Stage


def build_search(
    config: SearchConfig, dataset: Dataset, costs: Mapping[str, Costs] | None = None
) -> "SearchPhase | StagedSearch":
    """The phase that searches as `config` says; raises ConfigError as SearchPhase does."""
    strategy = strategy_for(config)
    if strategy.stages:
        return StagedSearch(config, dataset, costs, strategy.stages(config))
    return (AdaptiveSearch if strategy.go_back else SearchPhase)(config, dataset, costs)


class StagedSearch(Phase):
    """The stages of a strategy, one after the other."""

    name = "search"
    record_type = SearchRecord

    def __init__(
        self,
        config: SearchConfig,
        dataset: Dataset,
        costs: Mapping[str, Costs] | None,
        stages: Sequence[Stage],
    ) -> None:
        self.config = config
        self.seed = config.seed
        self.images = ImageRecord.of(dataset)
        self.data_fingerprint = dataset.fingerprint
        self.epochs = sum(stage.epochs for stage in stages)
        self._dataset, self._costs = dataset, costs
        self._stages = stages
        self._starts = list(accumulate((stage.epochs for stage in stages), initial=0))
        self._enter(0, None)

    def _enter(self, index: int, mask: OperationMask | None) -> None:
        stage = self._stages[index]
        strategy = strategy_for(self.config)
        if stage.vary:
            strategy = stage.vary(strategy)
        config = replace(self.config, epochs=stage.epochs, **stage.settings)
        self.index, self.mask = index, mask
        self.inner = SearchPhase(config, self._dataset, self._costs, strategy, mask)
        self.steps, self.device = self.inner.steps, self.inner.device
        self.evaluation_cost = self.inner.evaluation_cost

    def _enter_next(self) -> None:
        narrow, before = self._stages[self.index].narrow, self.inner.bilevel
        with torch.no_grad():
            mask = narrow(before.mixing_weights()) if narrow else self.mask
        self._enter(self.index + 1, mask)
        if self._stages[self.index].carry:
            self.inner.bilevel.carry_on(before)

    def _local(self, epoch: int) -> int:
        return epoch - self._starts[self.index]

    def relative_cost(self, epoch: int) -> float:
        """Each stage in units of the present one; a stage costs as its cells and operations do."""
        index = next(i for i, end in enumerate(self._starts[1:]) if epoch < end)
        return self._stages[index].cost / self._stages[self.index].cost

    def begin_epoch(self, epoch: int) -> None:
        """Enter the next stage where one begins."""
        if epoch == self._starts[self.index + 1]:
            self._enter_next()
        self.inner.begin_epoch(self._local(epoch))

    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """Those of the stage."""
        return self.inner.batches(self._local(epoch), start_step)

    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """One of the stage."""
        return self.inner.step(self._local(epoch), step, batch)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """What the stage logs, and which it is."""
        return {"stage": self.index + 1, **self.inner.end_epoch(self._local(epoch))}

    def result(self, records: Sequence[Mapping[str, Any]]) -> tuple[Architecture, int]:
        """The genotype of the last stage, and the epoch that it is of."""
        return self.inner.genotype(), len(records) - 1

    def state(self) -> dict[str, Tensor]:
        """The stage's state, which stage it is, and the operations that it has."""
        return {
            "stage": torch.tensor(self.index),
            **with_prefix("mask", self.mask or {}),
            **with_prefix("inner", self.inner.state()),
        }

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Enter the stage that the state is of, and put it back."""
        stage = tensors.get("stage")
        index = -1 if stage is None or stage.dim() else int(stage)
        if not 0 <= index < len(self._stages):
            raise RunError(f"{path} is of no stage of {self.config.strategy}")
        mask = under_prefix("mask", tensors)
        self._enter(index, {n: m.to(self.device) for n, m in mask.items()} or None)
        self.inner.load_state(under_prefix("inner", tensors), path)
