"""Class scores of exported models for the images of a data set."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sdedge.data.augment import Preprocess
from sdedge.data.dataset import Split
from sdedge.data.pipeline import Batches
from sdedge.deploy.formats.format import Run
from sdedge.errors import ExportError
from sdedge.space.saved import NetworkDescription

CPU = torch.device("cpu")
BATCH = 250  # images

Progress = Callable[[int, int], None]  # images done, images in all


def model_input(description: NetworkDescription, *, normalize: bool) -> Preprocess:
    """From uint8 images (N, S, S, 3) to the input of a model, float32 (N, 3, S, S).

    A model that does `normalize` its images itself takes them in [0, 1].
    """
    if normalize:
        black, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return Preprocess(black, one, description.image_size, None, CPU)
    return Preprocess(description.mean, description.std, description.image_size, None, CPU)


def first_rows(split: Split, limit: int | None) -> NDArray[np.int64]:
    """The rows of the first `limit` images (None: all)."""
    return np.arange(len(split.labels))[:limit]


def class_scores(
    runs: Sequence[Run],
    split: Split,
    rows: NDArray[np.int64],
    to_input: Preprocess,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """Class scores (N, classes) of each model for the images at `rows`.

    An image is prepared once for all models. Raises ExportError for scores that are not finite,
    and what the models raise.
    """
    found: list[list[NDArray[np.float32]]] = [[] for _ in runs]
    batches, done = Batches(split, rows, BATCH, CPU), 0
    for images, _ in batches.ordered():
        x = to_input(images).contiguous().numpy()
        for run, scores in zip(runs, found, strict=True):
            scores.append(run(x))
        done += len(images)
        if progress is not None:
            progress(done, len(batches))
    joined = [np.concatenate(scores) for scores in found]
    if not all(np.isfinite(scores).all() for scores in joined):
        raise ExportError("the exported model gives scores that are not finite; train it again")
    return joined
