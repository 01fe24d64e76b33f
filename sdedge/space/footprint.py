"""The least memory of a training step, counted before anything is allocated.

Counted are dense convolutions: their weights, with the gradients, and what they give, which every
form of the networks keeps for the backward pass of the batch norm that follows. The true peak is
several times as high, so what is refused for this could not have worked.
"""

from collections.abc import Iterable
from typing import NamedTuple

_BYTES = 4  # of a float32


class Convolutions(NamedTuple):
    """Some convolutions from `channels` to as many, on maps of `pixels`."""

    number: int
    channels: int
    pixels: int


def step_bytes(convolutions: Iterable[Convolutions], batch_size: int) -> int:
    """What a step on `batch_size` images cannot do without."""
    weights = outputs = 0
    for number, channels, pixels in convolutions:
        weights += number * channels**2
        outputs += number * channels * pixels * batch_size
    # Gradients come while the outputs go.
    return _BYTES * (weights + max(weights, outputs))
