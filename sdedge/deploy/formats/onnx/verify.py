"""Prove an ONNX model equal to its network before the file takes its name."""

import copy
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdedge.data.dataset import Split
from sdedge.data.pipeline import Batches
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.scores import BATCH, CPU, Progress, first_rows, model_input
from sdedge.errors import ExportError
from sdedge.space.counting import count_network
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription

LOGIT_TOLERANCE = 1e-4  # absolute, or relative to the largest logit of a batch where that is over 1
BYTES_PER_PARAMETER = 4


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What the checks of an exported model found; accuracies are fractions of `images`."""

    file_size_bytes: int
    parameters: int  # of the network, before batch norm was folded
    size_ratio: float  # of the file to 4 bytes a parameter
    nodes: dict[str, int]  # by type, most frequent first
    opset: int
    normalized_in_graph: bool
    images: int
    torch_accuracy: float
    onnx_accuracy: float
    differing_predictions: int
    max_abs_logit_difference: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A model that passed: the report on it, and its classes (N,) of the images."""

    report: ExportReport
    predicted: NDArray[np.int64]


def verify_onnx(
    model: bytes,
    network: Network,
    description: NetworkDescription,
    split: Split,
    *,
    normalize: bool = False,
    limit: int | None = None,
    batch_size: int = BATCH,
    progress: Progress | None = None,
) -> Verification:
    """Check a serialised model against the network it was exported from, on real images.

    onnx.checker first; then the logits of torch (batch norm not folded) and of ONNX Runtime, in
    batches of 1, 3 and `batch_size`, over the first `limit` images of `split` (None: all), which
    must agree within LOGIT_TOLERANCE. Raises ExportError when one of these fails.
    """
    proto = checked_model(model)
    comparison = _Comparison(model, network, description, normalize=normalize)
    for few in (1, 3):
        comparison.logits(torch.from_numpy(np.array(split.images[:few])))
    batches = Batches(split, first_rows(split, limit), batch_size, CPU)
    torch_correct = differing = done = 0
    predicted, true = [], []
    for images, labels in batches.ordered():
        expected, actual = (logits.argmax(axis=1) for logits in comparison.logits(images))
        torch_correct += int((expected == labels.numpy()).sum())
        differing += int((expected != actual).sum())
        predicted.append(actual)
        true.append(labels.numpy())
        done += len(images)
        if progress is not None:
            progress(done, len(batches))
    classes = np.concatenate(predicted)
    parameters = count_network(network, description.image_size).params
    report = ExportReport(
        file_size_bytes=len(model),
        parameters=parameters,
        size_ratio=len(model) / (BYTES_PER_PARAMETER * parameters),
        nodes=count_nodes(proto),
        opset=proto.opset_import[0].version,
        normalized_in_graph=normalize,
        images=done,
        torch_accuracy=torch_correct / done,
        onnx_accuracy=float((classes == np.concatenate(true)).mean()),
        differing_predictions=differing,
        max_abs_logit_difference=comparison.max_abs_difference,
    )
    return Verification(report=report, predicted=classes)


def checked_model(model: bytes) -> onnx.ModelProto:
    """The model of a file that onnx.checker accepts; ExportError for any other."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported model is not valid ONNX: {error}") from error
    return onnx.load_from_string(model)


def count_nodes(model: onnx.ModelProto) -> dict[str, int]:
    """By type, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


class _Comparison:
    """The network in torch and its model in ONNX Runtime, both on the CPU, side by side."""

    def __init__(
        self, model: bytes, network: Network, description: NetworkDescription, *, normalize: bool
    ) -> None:
        self._run = load(model)
        self._network = copy.deepcopy(network).cpu().eval().to(memory_format=torch.channels_last)
        self._normalised = model_input(description, normalize=False)
        self._in_range = model_input(description, normalize=True) if normalize else None
        self.max_abs_difference = 0.0

    def logits(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of torch and of ONNX, for uint8 images (N, S, S, 3); ExportError when they differ."""
        x = self._normalised(images)
        with torch.inference_mode():
            expected: NDArray[np.float32] = self._network(x).numpy()
        actual = self._run((x if self._in_range is None else self._in_range(images)).numpy())
        if actual.shape != expected.shape:
            raise ExportError(
                f"the exported model gives logits of shape {actual.shape}, torch {expected.shape}"
            )
        if not np.isfinite(expected).all():
            raise ExportError("the network gives logits that are not finite; train it again")
        difference = float(np.abs(actual - expected).max())
        allowed = LOGIT_TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:  # so that a NaN fails, too
            raise ExportError(
                f"the exported model's logits differ from torch's by {difference:.3g} in a batch "
                f"of {len(images)}, more than the {allowed:.3g} that rounding explains"
            )
        self.max_abs_difference = max(self.max_abs_difference, difference)
        return expected, actual
