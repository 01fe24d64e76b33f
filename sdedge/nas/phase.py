"""The search as a phase of the epoch loop: schedule, steps, validation, genotype."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.data.provenance import ImageRecord
from sdedge.device import make_deterministic, seed_step, select_device
from sdedge.genotype import Architecture
from sdedge.graphs import Step, select_graphs, set_rate
from sdedge.loop import Phase
from sdedge.meters import Meters
from sdedge.nas.budget import ADJUSTMENTS, Costs
from sdedge.nas.build import build_bilevel
from sdedge.nas.check import check_search
from sdedge.nas.data import SearchData
from sdedge.nas.record import SearchRecord, describe
from sdedge.nas.saved import put_back, tensors_of
from sdedge.nas.strategies import strategy_for
from sdedge.nas.strategy import OperationMask, Strategy
from sdedge.nas.tasks.task import TaskBatch
from sdedge.space.supernet import MixingWeights


class SearchPhase(Phase):
    """One search; raises ConfigError for settings that do not fit the data or the machine.

    `costs`, by limit, is what the derived network is held to. `strategy` and `operation_mask` are
    of a stage; else the strategy is the one that `config` names, with all its operations.
    """

    name = "search"
    record_type = SearchRecord

    def __init__(
        self,
        config: SearchConfig,
        dataset: Dataset,
        costs: Mapping[str, Costs] | None = None,
        strategy: Strategy | None = None,
        operation_mask: OperationMask | None = None,
    ) -> None:
        check_search(config)
        self.config = config
        self.epochs = config.epochs
        self.seed = config.seed
        self.device = select_device(config.device)
        make_deterministic()
        self.images = ImageRecord.of(dataset)
        self.data_fingerprint = dataset.fingerprint
        self.bilevel = build_bilevel(
            config,
            dataset,
            strategy or strategy_for(config),
            self.device,
            costs=costs,
            operation_mask=operation_mask,
        )
        graphs = select_graphs(config.cuda_graphs, self.device)
        self.alpha_step = Step(self.bilevel.alpha_step, graphs)
        self.weight_step = Step(self.bilevel.weight_step, graphs)
        self.data = SearchData(config, dataset, self.bilevel.task.augmentation, self.device)
        self.steps, self.evaluation_cost = self.data.steps, self.data.evaluation_cost

    def relative_cost(self, epoch: int) -> float:
        """During the warmup there is only the weight step, the more expensive of the two."""
        return 0.55 if self._in_alpha_warmup(epoch) else 1.0

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of the weights: a cosine, per epoch (DARTS, section A.1.2)."""
        config = self.config
        span = config.weight_lr - config.weight_lr_min
        cosine = (1 + math.cos(math.pi * epoch / config.epochs)) / 2
        set_rate(self.bilevel.weight_optimizer, config.weight_lr_min + span * cosine)
        self.bilevel.begin_epoch(epoch, config.epochs)
        self.bilevel.train()

    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """Pairs of a training and a search batch: ((images, labels), (images, labels))."""
        return self.data.epoch(epoch, start_step)

    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """One alpha step, then one weight step; a fresh mask for either batch."""
        task = self.bilevel.task
        train, search = (
            task.prepare(self.data.augment(images), labels) for images, labels in batch
        )
        if not self._in_alpha_warmup(epoch):
            if self.bilevel.budget and step % max(1, self.steps // ADJUSTMENTS) == 0:
                self.bilevel.budget.adjust(self.genotype())
            self.alpha_step(train, train if self.bilevel.strategy.single_level else search)
        return self.weight_step(train).parts

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Validate on the search half, and describe the architecture as it stands."""
        bilevel = self.bilevel
        bilevel.train(False)
        meters = Meters()
        for batch in self._validation("validate", epoch):
            meters.add(bilevel.loss(batch).parts, weight=len(batch.labels))
        if on_epoch_end := bilevel.strategy.on_epoch_end:
            on_epoch_end(bilevel, epoch, self.epochs, partial(self._score, epoch))
        genotype, weights = self.genotype(), bilevel.mixing_weights()
        budget = {"budget": bilevel.budget.report(weights, genotype)} if bilevel.budget else {}
        return {
            **self.measured(epoch),
            **describe(genotype, weights, meters.means()),
            **budget,
        }

    def _validation(self, name: str, epoch: int) -> Iterator[TaskBatch]:
        """The validation images; what is random about them depends on `name` and `epoch` alone."""
        seed_step(self.seed, name, epoch)
        for images, labels in self.data.validation():
            yield self.bilevel.task.prepare(images, labels)

    def _score(self, epoch: int, weights: MixingWeights) -> float:
        return self.bilevel.score(self._validation("score", epoch), weights)

    def measured(self, epoch: int) -> Mapping[str, float]:
        """What the strategy measures of a batch of the search half, drawn for this epoch."""
        measure = self.bilevel.strategy.measure
        if measure is None:
            return {}
        batch = self.bilevel.task.prepare(*self.data.one_batch("measure", epoch))
        return measure(self.bilevel, epoch, batch)

    def ended(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the strategy stops the search here."""
        stop = self.bilevel.strategy.stop
        warming_up = not records or self._in_alpha_warmup(len(records) - 1)
        return stop is not None and not warming_up and stop(records) is not None

    def _in_alpha_warmup(self, epoch: int) -> bool:
        return epoch < round(self.config.alpha_warmup * self.config.epochs)

    def genotype(self) -> Architecture:
        """The genotype that the present alphas derive to."""
        derive = self.bilevel.strategy.derive or self.bilevel.space.derive
        with torch.no_grad():
            return derive(self.bilevel.mixing_weights())

    def result(self, records: Sequence[Mapping[str, Any]]) -> tuple[Architecture, int]:
        """The genotype that the search found, and the epoch that it is of."""
        stop = self.bilevel.strategy.stop
        chosen = stop(records) if stop and self.ended(records) else None
        if chosen is None:
            return self.genotype(), len(records) - 1
        found = self.bilevel.space.architecture.from_dict(
            records[chosen]["genotype"], source=f"metrics.jsonl, epoch {chosen + 1}"
        )
        return found, chosen

    def state(self) -> dict[str, Tensor]:
        """All that the search moves."""
        return tensors_of(self.bilevel)

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave."""
        put_back(self.bilevel, tensors, path)
        for step in (self.alpha_step, self.weight_step):
            step.forget()  # the optimizers have other buffers now
