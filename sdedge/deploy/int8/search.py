"""Quantise a trained network after training, in the best of several ways."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sdedge.data.dataset import Dataset
from sdedge.data.pipeline import Batches
from sdedge.deploy.formats.format import Run
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.onnx.verify import checked_model, count_nodes
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.formats.scores import CPU, class_scores, model_input
from sdedge.deploy.int8.equalize import equalize
from sdedge.deploy.int8.images import Rows, choose_images
from sdedge.deploy.int8.quantize import quantize, quantized_tensors
from sdedge.deploy.int8.ranges import METHODS, Observations, observe
from sdedge.deploy.ir.model import Model

CALIBRATION_IMAGES = 512
MAX_ACCURACY_DROP = 0.005
# The second is tried where the first loses more than that: see `quantize`.
WEIGHT_LIMITS = (127, 63)
_OBSERVED_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to quantise, judged on training images that it was not calibrated on."""

    method: str
    weight_limit: int
    accuracy: float
    divergence: float  # of its class probabilities from fp32's (Kullback, Leibler), in nats


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The best INT8 form found. `fp32_accuracy` is on the held-out training images, too."""

    model: Model
    data: bytes  # the ONNX file
    nodes: dict[str, int]  # by type, most frequent first
    best: Candidate
    candidates: tuple[Candidate, ...]
    fp32_accuracy: float
    calibration_images: int
    held_out_images: int


def quantize_model(
    model: Model, data: Dataset, fp32: bytes, *, calibration_images: int = CALIBRATION_IMAGES
) -> Quantized:
    """Calibrate on training images by every method, and keep what is closest to fp32 on others.

    Closest by the divergence of class probabilities: on images that the network was trained on,
    accuracy tells the methods apart by a handful of images. `fp32` is the ONNX file of `model`.
    Raises DataError when the calibration images are of one class, and ExportError when the result
    is no valid model.
    """
    calibration, held_out = choose_images(data, calibration_images)
    exact = replace(model, program=equalize(model.program))
    observed = _observe(exact, data, calibration)
    labels = data.train.labels[held_out]

    def scores(runs: list[Run]) -> list[NDArray[np.float32]]:
        to_input = model_input(model.description, normalize=model.normalize)
        return class_scores(runs, data.train, held_out, to_input)

    (expected,) = scores([load(fp32)])
    fp32_accuracy = _accuracy(expected, labels)
    found: list[tuple[Candidate, Model]] = []
    for weight_limit in WEIGHT_LIMITS:
        forms = [_quantized(exact, observed, method, weight_limit) for method in METHODS]
        made = scores([load(_unordered(form)) for form in forms])
        for method, form, logits in zip(METHODS, forms, made, strict=True):
            candidate = Candidate(
                method=method,
                weight_limit=weight_limit,
                accuracy=_accuracy(logits, labels),
                divergence=_divergence(expected, logits),
            )
            found.append((candidate, form))
        best, form = min(found, key=lambda pair: pair[0].divergence)
        if best.accuracy >= fp32_accuracy - MAX_ACCURACY_DROP:
            break
    (file,) = ONNX.content(form)
    return Quantized(
        model=form,
        data=file,
        nodes=count_nodes(checked_model(file)),
        best=best,
        candidates=tuple(candidate for candidate, _ in found),
        fp32_accuracy=fp32_accuracy,
        calibration_images=len(calibration),
        held_out_images=len(held_out),
    )


def _observe(model: Model, data: Dataset, calibration: Rows) -> dict[str, Observations]:
    """What the activations of a model are on the calibration images, by tensor."""
    tensors = quantized_tensors(model.program)
    observable = program_model(
        model.program, model.description, normalize=model.normalize, extra=tensors
    )
    to_input = model_input(model.description, normalize=model.normalize)
    images = Batches(data.train, calibration, _OBSERVED_BATCH, CPU).ordered()
    return observe(
        observable.SerializeToString(), tensors, (to_input(batch).numpy() for batch, _ in images)
    )


def _quantized(
    model: Model, observed: Mapping[str, Observations], method: str, weight_limit: int
) -> Model:
    ranges = {name: METHODS[method](seen) for name, seen in observed.items()}
    program = quantize(model.program, ranges, weight_limit=weight_limit)
    return replace(model, program=program, precision="int8")


def _unordered(model: Model) -> bytes:
    """The ONNX file of a candidate; the order of its nodes does not change its scores."""
    proto = program_model(
        model.program, model.description, normalize=model.normalize, node_names=False
    )
    data: bytes = proto.SerializeToString()
    return data


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def _divergence(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Mean of sum(p log(p / q)) over the images."""
    p, q = (_log_softmax(logits.astype(np.float64)) for logits in (expected, actual))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(total)
    return result
