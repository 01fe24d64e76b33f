"""How many images of each class a network names rightly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How many test images of one class each network names rightly."""

    name: str
    images: int
    fp32_correct: int
    int8_correct: int | None = None


def count_by_class(
    classes: Sequence[str],
    labels: NDArray[np.int64],  # (N,)
    fp32: NDArray[np.int64],  # (N,) predictions
    int8: NDArray[np.int64] | None = None,
) -> tuple[ClassCount, ...]:
    """Count right predictions class by class, in the order of `classes`."""

    def count(of: NDArray[np.int64]) -> list[int]:
        return [int((of == label).sum()) for label in range(len(classes))]

    images, right = count(labels), count(labels[fp32 == labels])
    right_int8 = [None] * len(classes) if int8 is None else count(labels[int8 == labels])
    return tuple(
        ClassCount(name=name, images=images, fp32_correct=fp32_correct, int8_correct=int8_correct)
        for name, images, fp32_correct, int8_correct in zip(
            classes, images, right, right_int8, strict=True
        )
    )
