"""The images of a search: one half trains the weights, the other one alpha."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation, Preprocess
from sdedge.data.dataset import Dataset
from sdedge.data.pipeline import Batches
from sdedge.device import derived_seed
from sdedge.errors import ConfigError


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


class SearchData:
    """Batches of both halves on the device, in an order that the seed and the epoch decide.

    Raises ConfigError where a half has less than a batch.
    """

    def __init__(
        self,
        config: SearchConfig,
        dataset: Dataset,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self.seed, batch_size = config.seed, config.batch_size
        train, search = search_halves(dataset.train.labels, config.seed)
        if len(train) < batch_size:
            raise ConfigError(
                f"batch_size is {batch_size}, but each half of the {len(dataset.train.labels)} "
                f"training images of {dataset.name} has {len(train)}; lower --batch-size"
            )
        self.train = Batches(dataset.train, train, batch_size, device)
        self.search = Batches(dataset.train, search, batch_size, device)
        valid = search[: config.valid_images]
        self.evaluation_cost = 0.25 * len(valid) / batch_size  # one forward pass of four
        self.valid = Batches(dataset.train, valid, min(batch_size, len(valid)), device)
        self.steps = self.train.steps
        if config.epoch_images is not None:
            self.steps = min(self.steps, config.epoch_images // batch_size)
        normalisation = (dataset.mean, dataset.std, dataset.image_size)
        self.augment = Preprocess(*normalisation, augmentation, device)
        self.preprocess = Preprocess(*normalisation, None, device)

    def epoch(self, epoch: int, start_step: int) -> Iterator[Any]:
        """Pairs of a training and a search batch: ((images, labels), (images, labels))."""
        streams = [
            batches.epoch(derived_seed(self.seed, name, epoch), start_step, self.steps - start_step)
            for name, batches in (("train", self.train), ("search", self.search))
        ]
        return zip(*streams, strict=True)

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised validation images of the search half, with their labels, in order."""
        for images, labels in self.valid.ordered():
            yield self.preprocess(images), labels

    def one_batch(self, purpose: str, epoch: int) -> tuple[Tensor, Tensor]:
        """A normalised batch of the search half, drawn for this purpose and epoch."""
        images, labels = next(self.search.epoch(derived_seed(self.seed, purpose, epoch), 0, 1))
        return self.preprocess(images), labels
