"""Models that were just made, in ONNX Runtime."""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from sdedge.deploy.formats.format import Run
from sdedge.deploy.ir.program import INPUT, OUTPUT
from sdedge.deploy.latency.bench import ORT_ERRORS, error_text
from sdedge.deploy.latency.profiler import default_threads
from sdedge.errors import ExportError


def open_model(model: bytes) -> ort.InferenceSession:
    """A session for a model that was just made; ExportError when ONNX Runtime refuses it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = default_threads()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise ExportError(
            f"ONNX Runtime {ort.__version__} cannot load the exported model: {error_text(error)}"
        ) from error


def load(model: bytes) -> Run:
    """What gives a model's class scores; ExportError when ONNX Runtime refuses it or a batch."""
    session = open_model(model)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = {INPUT: np.ascontiguousarray(images)}
        try:
            scores: NDArray[np.float32] = session.run([OUTPUT], feed)[0]
        except ORT_ERRORS as error:
            raise ExportError(
                f"the exported model does not run on a batch of {len(images)}: {error_text(error)}"
            ) from error
        return scores

    return run
