"""The ranges of a network's activations on images, by several methods."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdedge.deploy.formats.onnx.runtime import open_model
from sdedge.deploy.ir.program import INPUT

Range = tuple[float, float]

LEVELS = 255  # of a byte, above the least
_SAMPLE_PER_BATCH = 8192
_OUTLIERS = 1e-4  # the share that `percentile` cuts off, at each end
_CUTS = np.linspace(0.3, 1, 29)


@dataclass
class Observations:
    """What was seen of one activation."""

    least: list[float] = field(default_factory=list)  # of each batch
    greatest: list[float] = field(default_factory=list)
    samples: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: NDArray[np.float32], generator: np.random.Generator) -> None:
        """Take in one batch."""
        self.least.append(float(values.min()))
        self.greatest.append(float(values.max()))
        self.samples.append(generator.choice(values.ravel(), _SAMPLE_PER_BATCH))


def observe(
    model: bytes, tensors: Sequence[str], batches: Iterable[NDArray[np.float32]]
) -> dict[str, Observations]:
    """Run a model on batches of its input; `tensors` names its outputs after the class scores."""
    session = open_model(model)
    generator = np.random.default_rng(0)
    observed = {name: Observations() for name in (INPUT, *tensors)}
    for x in batches:
        _, *found = session.run(None, {INPUT: x})
        for name, values in zip(observed, (x, *found), strict=True):
            observed[name].add(values, generator)
    return observed


def _min_max(seen: Observations) -> Range:
    return min(seen.least), max(seen.greatest)


def _average(seen: Observations) -> Range:
    return float(np.mean(seen.least)), float(np.mean(seen.greatest))


def _percentile(seen: Observations) -> Range:
    least, greatest = np.quantile(np.concatenate(seen.samples), (_OUTLIERS, 1 - _OUTLIERS))
    return float(least), float(greatest)


def _least_error(seen: Observations) -> Range:
    """The range, both ends cut by the same share, of the least squared error of rounding."""
    values = np.concatenate(seen.samples)
    ends = [tuple(cut * end for end in _min_max(seen)) for cut in _CUTS]
    return min(ends, key=lambda ends: _squared_error(values, *ends))


def _squared_error(values: NDArray[np.float32], least: float, greatest: float) -> float:
    least, greatest = min(least, 0.0), max(greatest, 0.0)
    scale = (greatest - least) / LEVELS or 1.0
    rounded = np.rint(values.clip(least, greatest) / scale) * scale
    return float(np.square(rounded - values).mean())


METHODS: Mapping[str, Callable[[Observations], Range]] = {
    "min_max": _min_max,
    "average": _average,
    "percentile": _percentile,
    "least_error": _least_error,
}
