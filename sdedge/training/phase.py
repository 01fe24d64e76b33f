"""The training of a derived network as a phase of the epoch loop."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim import SGD

from sdedge.bounds import Share
from sdedge.checkpoint import (
    load_module,
    load_optimizer_tensors,
    optimizer_tensors,
    under_prefix,
    with_prefix,
)
from sdedge.config import TrainConfig
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
from sdedge.errors import ConfigError
from sdedge.genotype import Genotype
from sdedge.graphs import Step, rate_settings, select_graphs, set_rate
from sdedge.loop import Phase
from sdedge.meters import Meters
from sdedge.run import Record
from sdedge.space.darts.footprint import network_convolutions
from sdedge.space.darts.network import Network, check_auxiliary_size
from sdedge.space.footprint import step_bytes
from sdedge.space.saved import NetworkDescription
from sdedge.training.ema import Ema
from sdedge.training.recipe import augmentation, autocast_dtype, learning_rate, training_loss

_EVALUATION_BATCH = 250


def check_training(config: TrainConfig) -> None:
    """Raise ConfigError for what cannot run here, before any data are opened."""
    device = select_device(config.device)
    autocast_dtype(config, device)
    select_graphs(config.cuda_graphs, device)


@dataclass(frozen=True, kw_only=True)
class TrainRecord(Record):
    """What a training logs of an epoch, as far as it is read again."""

    test_accuracy: Share


class TrainPhase(Phase):
    """One training; raises ConfigError for settings that do not fit the data or the machine."""

    name = "train"
    record_type = TrainRecord

    def __init__(self, config: TrainConfig, genotype: Genotype, dataset: Dataset) -> None:
        self.config = config
        self.epochs = config.epochs
        self.seed = config.seed
        self.device = select_device(config.device)
        self.dtype = autocast_dtype(config, self.device)
        image_size = config.image_size or dataset.image_size
        if config.auxiliary:
            check_auxiliary_size(image_size, config.stem)
        make_deterministic()
        self.images = ImageRecord.of(dataset)
        self.data_fingerprint = dataset.fingerprint
        self.description = NetworkDescription(
            genotype=genotype,
            channels=config.channels,
            cells=config.cells,
            stem=config.stem,
            classes=dataset.classes,
            image_size=image_size,
            mean=dataset.mean,
            std=dataset.std,
            dataset=dataset.name,
        )
        convolutions = network_convolutions(
            *([name for name, _ in cell] for cell in (genotype.normal, genotype.reduce)),
            channels=config.channels,
            cells=config.cells,
            stem=config.stem,
            image_size=image_size,
        )
        require_memory(step_bytes(convolutions, config.batch_size), self.device, self.name)
        seed_step(config.seed, "initialise")
        with explain_out_of_memory(self.device):
            network = Network(
                genotype,
                channels=config.channels,
                cells=config.cells,
                classes=len(dataset.classes),
                stem=config.stem,
                auxiliary=config.auxiliary,
            )
        self.network = on_device(network, self.device)
        self.optimizer = SGD(
            self.network.parameters(),
            **rate_settings(self.device, config.lr),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.learn = Step(self._learn, select_graphs(config.cuda_graphs, self.device))
        self.ema = Ema(self.network, config.ema_decay) if config.ema_decay else None
        self._load_data(dataset)

    def _load_data(self, dataset: Dataset) -> None:
        config = self.config
        if len(dataset.train.labels) < config.batch_size:
            raise ConfigError(
                f"batch_size is {config.batch_size}, but {dataset.name} has "
                f"{len(dataset.train.labels)} training images; lower --batch-size"
            )
        self.train = Batches(dataset.train, None, config.batch_size, self.device)
        self.test = Batches(dataset.test, None, _EVALUATION_BATCH, self.device)
        self.evaluation_cost = 0.3 * len(dataset.test.labels) / config.batch_size
        self.steps = self.train.steps
        if config.epoch_images is not None:
            self.steps = min(self.steps, config.epoch_images // config.batch_size)
        normalisation = (dataset.mean, dataset.std, self.description.image_size)
        self.augment = Preprocess(*normalisation, augmentation(config), self.device)
        self.preprocess = Preprocess(*normalisation, None, self.device)

    def begin_epoch(self, epoch: int) -> None:
        """Drop path grows linearly with the epoch (DARTS, section A.2.1)."""
        self.network.train()
        probability = self.config.drop_path * epoch / self.epochs
        if probability != self.network.drop_path_probability:
            self.network.drop_path_probability = probability
            self.learn.forget()  # a number, not a tensor: the graph would keep the old one

    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """Pairs of images and labels."""
        seed = derived_seed(self.seed, "train", epoch)
        return self.train.epoch(seed, start_step, self.steps - start_step)

    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """One step of SGD on one augmented batch."""
        images, labels = batch
        set_rate(self.optimizer, learning_rate(self.config, epoch + (step + 0.5) / self.steps))
        values = self.learn(self.augment(images), labels)
        if self.ema:
            self.ema.update()
        return values

    def _learn(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with self._autocast():
            logits, auxiliary = self.network.forward_with_auxiliary(images)
            loss = training_loss(self.config, logits, auxiliary, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        hits = logits.detach().argmax(dim=1) == labels
        return {"loss": loss.detach(), "accuracy": hits.double().mean()}

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Test accuracy of the averaged weights, where there are any, else of the weights."""
        if not self.ema:
            return self.evaluate()
        plain = self.evaluate() if epoch + 1 == self.epochs else {}
        self.ema.swap()
        averaged = self.evaluate()
        self.ema.swap()
        return {**averaged, **{f"{name}_without_ema": value for name, value in plain.items()}}

    def finish(self) -> Network:
        """The network to ship: in evaluation mode, with averaged weights where there are any."""
        if self.ema:
            self.ema.swap()
        self.network.eval()
        return self.network

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Cross-entropy and accuracy (a fraction) on the whole test split."""
        self.network.eval()
        meters = Meters()
        for images, labels in self.test.ordered():
            with self._autocast():
                logits = self.network(self.preprocess(images))
            values = {
                "test_loss": F.cross_entropy(logits.float(), labels),
                "test_accuracy": (logits.argmax(dim=1) == labels).double().mean(),
            }
            meters.add(values, weight=len(labels))
        return meters.means()

    def state(self) -> dict[str, Tensor]:
        """Weights, optimizer and averaged weights."""
        return {
            **with_prefix("network", self.network.state_dict()),
            **with_prefix("optimizer", optimizer_tensors(self.optimizer)),
            **with_prefix("ema", self.ema.tensors() if self.ema else {}),
        }

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave."""
        load_module(self.network, under_prefix("network", tensors), path)
        load_optimizer_tensors(self.optimizer, under_prefix("optimizer", tensors), path)
        self.learn.forget()  # the optimizer has other buffers now
        if self.ema:
            self.ema.load(under_prefix("ema", tensors), path)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None
        )
