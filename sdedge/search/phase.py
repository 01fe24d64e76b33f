"""The search as a phase of the epoch loop: data halves, schedule, validation, genotype."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdedge.bounds import Natural, Share
from sdedge.checkpoint import (
    load_module,
    load_optimizer_tensors,
    optimizer_tensors,
    under_prefix,
    with_prefix,
)
from sdedge.config import SearchConfig
from sdedge.data.augment import Preprocess
from sdedge.data.catalog import Dataset
from sdedge.data.pipeline import Batches
from sdedge.data.provenance import ImageRecord
from sdedge.device import (
    derived_seed,
    explain_out_of_memory,
    make_deterministic,
    on_device,
    require_memory,
    seed_step,
    select_device,
)
from sdedge.errors import ConfigError, RunError
from sdedge.genotype import Architecture
from sdedge.graphs import Step, select_graphs, set_rate
from sdedge.kernels import dispatch
from sdedge.loop import Phase
from sdedge.meters import Meters
from sdedge.run import Record
from sdedge.search.alphas import RELATIVE, mixing_entropy, relative_entropy
from sdedge.search.bilevel import Bilevel
from sdedge.search.budget import ADJUSTMENTS, Budget, Costs
from sdedge.search.companion import Companion
from sdedge.search.strategies import strategy_for
from sdedge.search.strategy import OperationMask, Strategy
from sdedge.search.tasks import build_task, task_name
from sdedge.search.tasks.task import TaskBatch
from sdedge.space.footprint import step_bytes
from sdedge.space.spaces import get_space
from sdedge.space.supernet import MixingWeights


def search_halves(
    labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images that train weights, and of those that train alpha.

    First and second half, as in the papers; a set stored class by class is shuffled first.
    """
    order = np.arange(len(labels), dtype=np.int64)
    if np.all(np.diff(labels) >= 0):
        np.random.default_rng(derived_seed(seed, "halves")).shuffle(order)
    half = len(order) // 2
    return order[:half], order[half:]


def check_search(config: SearchConfig) -> None:
    """Raise ConfigError or KernelError for what cannot run here, before any data are opened."""
    device = select_device(config.device)
    select_graphs(config.cuda_graphs, device)
    dispatch.resolve(config.impl, device, torch.float32)
    get_space(config.space)
    strategy = strategy_for(config)
    if config.cuda_graphs and (strategy.sparse or strategy.auxiliary_loss):
        raise ConfigError(
            f"strategy {strategy.name} computes other operations in every pass, which a recorded "
            "step cannot; leave out --cuda-graphs"
        )
    task_name(config.task)


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """What a search logs of an epoch, as far as it is read again."""

    genotype: dict[str, Any]
    skip_count: Natural
    valid_accuracy: Share | None = None  # some tasks have none
    alpha_eigenvalue: float | None = None  # RobustDARTS measures it, every other epoch


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
        strategy = strategy or strategy_for(config)
        self.space = get_space(config.space)
        convolutions = self.space.convolutions(
            *(config.channels, config.cells, dataset.image_size),
            partial=strategy.partial,
            sparse=strategy.sparse or operation_mask is not None,
        )
        require_memory(step_bytes(convolutions, config.batch_size), self.device, self.name)

        seed_step(config.seed, "initialise")
        build = partial(
            self.space.supernet,
            config,
            len(dataset.classes),
            strategy.extra_operations,
            strategy.partial,
            strategy.split,
        )
        with explain_out_of_memory(self.device):
            supernet = build()
        task = build_task(
            config,
            feature_channels=supernet.feature_channels,
            image_size=dataset.image_size,
            value_range=dataset.value_range,
            classes=len(dataset.classes),
            mean=dataset.mean,
            std=dataset.std,
        )
        if strategy.second_order and task.harmonised:
            raise ConfigError(
                f"strategy {strategy.name} differentiates twice, and the {config.task} task holds "
                "its harmonising factor constant, so that the result would be wrong by several "
                "per cent; use strategy darts, or task classification or mim"
            )
        if strategy.auxiliary_loss and not task.reads_classes:
            raise ConfigError(
                f"strategy {strategy.name} compares class scores, which the {config.task} task "
                "does not learn; use one that classifies, as semantic or classification"
            )
        companion = Companion(build(), self.space) if strategy.auxiliary_loss else None
        self.bilevel = Bilevel(
            on_device(supernet, self.device),
            on_device(task, self.device),
            strategy.initial_alphas(self.space, self.device),
            strategy,
            config,
            Budget(costs, self.device) if costs else None,
            operation_mask,
            on_device(companion, self.device) if companion else None,
        )
        graphs = select_graphs(config.cuda_graphs, self.device)
        self.alpha_step = Step(self.bilevel.alpha_step, graphs)
        self.weight_step = Step(self.bilevel.weight_step, graphs)
        self._load_data(dataset)

    def _load_data(self, dataset: Dataset) -> None:
        config, batch_size = self.config, self.config.batch_size
        train, search = search_halves(dataset.train.labels, config.seed)
        if len(train) < batch_size:
            raise ConfigError(
                f"batch_size is {batch_size}, but each half of the {len(dataset.train.labels)} "
                f"training images of {dataset.name} has {len(train)}; lower --batch-size"
            )
        self.train = Batches(dataset.train, train, batch_size, self.device)
        self.search = Batches(dataset.train, search, batch_size, self.device)
        valid = search[: config.valid_images]
        self.evaluation_cost = 0.25 * len(valid) / batch_size  # one forward pass of four
        self.valid = Batches(dataset.train, valid, min(batch_size, len(valid)), self.device)
        self.steps = self.train.steps
        if config.epoch_images is not None:
            self.steps = min(self.steps, config.epoch_images // batch_size)
        normalisation = (dataset.mean, dataset.std, dataset.image_size)
        self.augment = Preprocess(*normalisation, self.bilevel.task.augmentation, self.device)
        self.preprocess = Preprocess(*normalisation, None, self.device)

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
        streams = [
            batches.epoch(derived_seed(self.seed, name, epoch), start_step, self.steps - start_step)
            for name, batches in (("train", self.train), ("search", self.search))
        ]
        return zip(*streams, strict=True)

    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """One alpha step, then one weight step; a fresh mask for either batch."""
        task = self.bilevel.task
        train, search = (task.prepare(self.augment(images), labels) for images, labels in batch)
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
        genotype = self.genotype()
        weights = bilevel.mixing_weights()
        entropy = mixing_entropy(weights)
        budget = {"budget": bilevel.budget.report(weights, genotype)} if bilevel.budget else {}
        return {
            **self.measured(epoch),
            **{f"valid_{name}": value for name, value in meters.means().items()},
            "genotype": genotype.to_dict(),
            "skip_count": genotype.skip_count,
            "parameter_free_count": genotype.parameter_free_count,
            "collapsed": genotype.collapsed,
            **{f"alpha_entropy_{name}": value for name, value in entropy.items()},
            **{f"{RELATIVE}{name}": value for name, value in relative_entropy(weights).items()},
            **budget,
        }

    def _validation(self, name: str, epoch: int) -> Iterator[TaskBatch]:
        """The validation images; what is random about them depends on `name` and `epoch` alone."""
        seed_step(self.seed, name, epoch)
        for images, labels in self.valid.ordered():
            yield self.bilevel.task.prepare(self.preprocess(images), labels)

    def _score(self, epoch: int, weights: MixingWeights) -> float:
        return self.bilevel.score(self._validation("score", epoch), weights)

    def measured(self, epoch: int) -> Mapping[str, float]:
        """What the strategy measures of a batch of the search half, drawn for this epoch."""
        measure = self.bilevel.strategy.measure
        if measure is None:
            return {}
        images, labels = next(self.search.epoch(derived_seed(self.seed, "measure", epoch), 0, 1))
        batch = self.bilevel.task.prepare(self.preprocess(images), labels)
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
        derive = self.bilevel.strategy.derive or self.space.derive
        with torch.no_grad():
            return derive(self.bilevel.mixing_weights())

    def result(self, records: Sequence[Mapping[str, Any]]) -> tuple[Architecture, int]:
        """The genotype that the search found, and the epoch that it is of."""
        stop = self.bilevel.strategy.stop
        chosen = stop(records) if stop and self.ended(records) else None
        if chosen is None:
            return self.genotype(), len(records) - 1
        found = self.space.architecture.from_dict(
            records[chosen]["genotype"], source=f"metrics.jsonl, epoch {chosen + 1}"
        )
        return found, chosen

    def state(self) -> dict[str, Tensor]:
        """Weights, alphas and what is fixed, both optimizers, and the multipliers of a budget."""
        bilevel = self.bilevel
        modules: dict[str, Tensor] = {}
        for name, module in bilevel.modules.items():
            modules |= with_prefix(name, module.state_dict())
        return {
            **modules,
            **with_prefix("alpha", bilevel.alphas),
            **with_prefix("fixed_weights", bilevel.fixed_weights),
            **with_prefix("budget", bilevel.budget.state_dict() if bilevel.budget else {}),
            **with_prefix("weight_optimizer", optimizer_tensors(bilevel.weight_optimizer)),
            **with_prefix("alpha_optimizer", optimizer_tensors(bilevel.alpha_optimizer)),
        }

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave."""
        bilevel = self.bilevel
        for name, module in bilevel.modules.items():
            load_module(module, under_prefix(name, tensors), path)
        if bilevel.budget:
            load_module(bilevel.budget, under_prefix("budget", tensors), path)
        for name, own in (("alpha", bilevel.alphas), ("fixed_weights", bilevel.fixed_weights)):
            saved = under_prefix(name, tensors)
            if {n: t.shape for n, t in saved.items()} != {n: t.shape for n, t in own.items()}:
                raise RunError(
                    f"{path} holds other architecture parameters than {self.config.strategy}"
                )
            with torch.no_grad():
                for key, tensor in own.items():
                    tensor.copy_(saved[key])
        load_optimizer_tensors(
            bilevel.weight_optimizer, under_prefix("weight_optimizer", tensors), path
        )
        load_optimizer_tensors(
            bilevel.alpha_optimizer, under_prefix("alpha_optimizer", tensors), path
        )
        for step in (self.alpha_step, self.weight_step):
            step.forget()  # the optimizers have other buffers now
