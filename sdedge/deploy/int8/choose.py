"""Quantise a trained network after training, choose the best way, and judge what came of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdedge.data.augment import Preprocess
from sdedge.data.dataset import Dataset, Split
from sdedge.data.pipeline import Batches
from sdedge.deploy.formats.onnx.order import in_best_order
from sdedge.deploy.formats.onnx.verify import (
    CPU,
    ExportReport,
    Progress,
    checked_model,
    count_nodes,
    model_input,
    open_model,
    run_model,
)
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.int8.equalize import equalize
from sdedge.deploy.int8.quantize import quantize, quantized_tensors
from sdedge.deploy.int8.ranges import METHODS, observe
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.latency.compare import Latency
from sdedge.errors import DataError, ExportError
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription

CALIBRATION_IMAGES = 512
HELD_OUT_IMAGES = 2048
HELD_OUT_PART = 5  # of a small set a fifth is held out
MOST_LOST = 0.005  # of accuracy
# The second is tried where the first loses more than that: see `quantize`.
WEIGHT_LIMITS = (127, 63)
_OBSERVED_BATCH = 32
_BATCH = 250

Rows = NDArray[np.int64]


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

    model: bytes
    nodes: dict[str, int]  # by type, most frequent first
    best: Candidate
    candidates: tuple[Candidate, ...]
    fp32_accuracy: float
    calibration_images: int
    held_out_images: int


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """The INT8 file beside the fp32 one; accuracies are fractions of `images` test images."""

    file_size_bytes: int
    bytes_per_parameter: float  # of the network, before batch norm was folded
    nodes: dict[str, int]  # by type, most frequent first
    images: int
    onnx_accuracy: float
    fp32_onnx_accuracy: float
    latency_p50_ms: float
    latency_p99_ms: float
    fp32_latency_p50_ms: float
    fp32_latency_p99_ms: float
    threads: int
    settled: bool  # whether both medians stand
    method: str
    weight_limit: int
    calibration_images: int
    held_out_images: int
    candidates: tuple[Candidate, ...]
    recommended: Literal["fp32", "int8"]
    reasons: tuple[str, ...]  # for what is recommended
    recommended_for: str | None = None  # a target; None: the machine of the export

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def quantize_network(
    network: Network,
    description: NetworkDescription,
    data: Dataset,
    fp32_model: bytes,
    *,
    normalize: bool = False,
    calibration_images: int = CALIBRATION_IMAGES,
) -> Quantized:
    """Calibrate on training images by every method, and keep what is closest to fp32 on others.

    Closest by the divergence of class probabilities: on images that the network was trained on,
    accuracy tells the methods apart by a handful of images. `fp32_model` is the network's export.
    Raises DataError when the calibration images are of one class, and ExportError when the result
    is no valid model.
    """
    calibration, held_out = choose_images(data, calibration_images)
    program = equalize(to_program(network, description, normalize=normalize))
    tensors = quantized_tensors(program)
    observable = program_model(program, description, normalize=normalize, extra=tensors)
    to_input = model_input(description, normalize=normalize)
    images = Batches(data.train, calibration, _OBSERVED_BATCH, CPU).ordered()
    observed = observe(
        observable.SerializeToString(), tensors, (to_input(batch).numpy() for batch, _ in images)
    )
    labels = data.train.labels[held_out]
    expected = class_scores(fp32_model, data.train, held_out, to_input)
    fp32_accuracy = _accuracy(expected, labels)

    def quantized(method: str, weight_limit: int) -> bytes:
        ranges = {name: METHODS[method](seen) for name, seen in observed.items()}
        int8 = quantize(program, ranges, weight_limit=weight_limit)
        proto = program_model(int8, description, normalize=normalize, node_names=False)
        model: bytes = in_best_order(proto).SerializeToString()
        return model

    found: list[tuple[Candidate, bytes]] = []
    for weight_limit in WEIGHT_LIMITS:
        for method in METHODS:
            model = quantized(method, weight_limit)
            logits = class_scores(model, data.train, held_out, to_input)
            candidate = Candidate(
                method=method,
                weight_limit=weight_limit,
                accuracy=_accuracy(logits, labels),
                divergence=_divergence(expected, logits),
            )
            found.append((candidate, model))
        best, model = min(found, key=lambda pair: pair[0].divergence)
        if best.accuracy >= fp32_accuracy - MOST_LOST:
            break
    return Quantized(
        model=model,
        nodes=count_nodes(checked_model(model)),
        best=best,
        candidates=tuple(candidate for candidate, _ in found),
        fp32_accuracy=fp32_accuracy,
        calibration_images=len(calibration),
        held_out_images=len(held_out),
    )


def judge(
    quantized: Quantized,
    fp32: ExportReport,
    accuracy: float,
    latencies: Mapping[str, Latency],  # of "fp32" and "int8"
    threads: int,
) -> Int8Report:
    """INT8 is recommended where it is faster here and loses at most MOST_LOST of accuracy.

    For a target, `sdedge.deploy.fit.recommend` has the word.
    """
    quick, exact = latencies["int8"], latencies["fp32"]
    reasons = accuracy_lost(fp32.onnx_accuracy, accuracy)
    if quick.latency_p50_ms >= exact.latency_p50_ms:
        unsure = "" if quick.settled and exact.settled else ", by medians that did not settle"
        reasons.append(
            f"int8 takes {quick.latency_p50_ms:.3f} ms on the CPU that exported it, fp32 "
            f"{exact.latency_p50_ms:.3f}{unsure}"
        )
    return Int8Report(
        file_size_bytes=len(quantized.model),
        bytes_per_parameter=len(quantized.model) / fp32.parameters,
        nodes=quantized.nodes,
        images=fp32.images,
        onnx_accuracy=accuracy,
        fp32_onnx_accuracy=fp32.onnx_accuracy,
        latency_p50_ms=quick.latency_p50_ms,
        latency_p99_ms=quick.latency_p99_ms,
        fp32_latency_p50_ms=exact.latency_p50_ms,
        fp32_latency_p99_ms=exact.latency_p99_ms,
        threads=threads,
        settled=quick.settled and exact.settled,
        method=quantized.best.method,
        weight_limit=quantized.best.weight_limit,
        calibration_images=quantized.calibration_images,
        held_out_images=quantized.held_out_images,
        candidates=quantized.candidates,
        recommended="fp32" if reasons else "int8",
        reasons=tuple(reasons),
    )


def accuracy_lost(fp32: float, int8: float) -> list[str]:
    """What speaks against INT8 where it loses more than MOST_LOST of accuracy."""
    lost = round(fp32 - int8, 9)  # 0.9 - 0.895 is more than 0.005
    if lost <= MOST_LOST:
        return []
    return [f"int8 loses {100 * lost:.2f} points of accuracy, more than {100 * MOST_LOST:g}"]


def check_int8(
    model: bytes, description: NetworkDescription, split: Split, *, normalize: bool = False
) -> None:
    """Raise ExportError when a quantised model does not run on batches of 1 and 3."""
    for few in (1, 3):
        predictions(model, description, split, normalize=normalize, limit=few)


def predictions(
    model: bytes,
    description: NetworkDescription,
    split: Split,
    *,
    normalize: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Classes (N,) that a model gives the first `limit` images (None: all), in ONNX Runtime.

    Raises ExportError when it does not run, or gives no finite scores.
    """
    to_input = model_input(description, normalize=normalize)
    rows = np.arange(len(split.labels))[:limit]
    logits = class_scores(model, split, rows, to_input, progress)
    classes: NDArray[np.int64] = logits.argmax(axis=1)
    return classes


def choose_images(data: Dataset, calibration_images: int) -> tuple[Rows, Rows]:
    """Rows of the training images to calibrate on, and of others to choose by; always the same.

    Of a small set fewer than `calibration_images` are taken: a part is kept to choose by.
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


def class_scores(
    model: bytes, split: Split, rows: Rows, to_input: Preprocess, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Class scores (N, classes) of a model for the images at `rows`."""
    session, found = open_model(model), []
    for images, _ in Batches(split, rows, _BATCH, CPU).ordered():
        found.append(run_model(session, to_input(images)))
        if progress is not None:
            progress(sum(map(len, found)), len(rows))
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise ExportError("the exported model gives scores that are not finite; train it again")
    return logits


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
