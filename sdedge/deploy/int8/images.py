"""Which training images a network is quantised with."""

import numpy as np
from numpy.typing import NDArray

from sdedge.data.dataset import Dataset
from sdedge.errors import DataError

HELD_OUT_IMAGES = 2048
HELD_OUT_PART = 5  # of a small set a fifth is held out

Rows = NDArray[np.int64]


def choose_images(data: Dataset, calibration_images: int) -> tuple[Rows, Rows]:
    """Rows of the training images to calibrate on, and of others to choose by; always the same.

    Of a small set fewer than `calibration_images` are taken: a part is kept to choose by. Raises
    DataError when the calibration images are of one class.
    """
    count = len(data.train.labels)
    order = np.random.default_rng(0).permutation(count)
    most = min(calibration_images, count - max(1, count // HELD_OUT_PART))
    calibration = np.sort(order[:most])
    held_out = np.sort(order[most:][:HELD_OUT_IMAGES])
    present = np.unique(data.train.labels[calibration])
    if len(present) < 2:
        only = ", ".join(data.classes[label] for label in present) or "none"
        more = "raise --calibration-images" if most == calibration_images else "add images"
        raise DataError(
            f"the {len(calibration)} calibration images of {data.name} are of one class ({only}); "
            f"INT8 needs images of all: {more}, or give another --dataset"
        )
    return calibration, held_out
