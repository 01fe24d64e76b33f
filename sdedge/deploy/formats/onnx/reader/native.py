"""What onnx's and ONNX Runtime's native code does with a model, and a program that serves it.

A hostile file can crash native code, or make it allocate gigabytes. `contained.py` runs this file
as a program in a process of its own, whose end it survives; for models made in this process the
functions are called directly.

    python native.py BYTES

answers requests on stdin, each a line of JSON, {"task": NAME, "sizes": [...]}, and the blobs of
these sizes; an answer is {"sizes": [...]} and blobs, or {"error": TEXT}. It may take BYTES of
memory.
"""

import io
import json
import os
import re
import resource
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnx.external_data_helper import load_external_data_for_model
from onnx.inliner import inline_local_functions

MAX_REASON = 2000  # characters


class NativeError(Exception):
    """Native code refuses a model, or died on it; the message is its reason, on one line."""


def checked(model: bytes) -> bytes:
    """The model once onnx.checker has accepted it, its functions inlined."""
    onnx.checker.check_model(model)
    proto = onnx.load_model_from_string(model)
    if proto.functions:
        proto = inline_local_functions(proto)
    data: bytes = proto.SerializeToString()
    return data


def inferred(model: bytes) -> bytes:
    """The model with the shapes that onnx infers."""
    shaped: bytes = onnx.shape_inference.infer_shapes(model, data_prop=True).SerializeToString()
    return shaped


def shapes_of_a_run(model: bytes, folder: bytes) -> bytes:
    """What ONNX Runtime makes of two images: JSON of shape and element type by tensor's name.

    Every tensor of the main graph becomes an output, and nothing is optimised away; one whose shape
    differs from image to image is left out. `folder` is where the model's file lies, for weights
    beside it; empty where there is none. The image's shape has to be fixed.
    """
    proto = onnx.load_model_from_string(model)
    if folder:
        load_external_data_for_model(proto, os.fsdecode(folder))
    outputs = {value.name for value in proto.graph.output}
    made = {name: None for node in proto.graph.node for name in node.output if name}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in made if n not in outputs)
    session = _session(proto.SerializeToString(), ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    weights = {weight.name for weight in proto.graph.initializer}
    (image,) = (value for value in proto.graph.input if value.name not in weights)
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    element = helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)
    noise = np.random.default_rng(0).integers(0, 100, shape).astype(element)
    names = [value.name for value in session.get_outputs()]
    found = []
    for pixels in (np.zeros(shape, element), noise):
        values = session.run(names, {image.name: pixels})
        found.append({name: _description(v) for name, v in zip(names, values, strict=True)})
    return json.dumps(
        {n: d for n, d in found[0].items() if d and d == found[1][n]}, allow_nan=False
    ).encode()


def scores_of_a_run(model: bytes, images: bytes) -> bytes:
    """The first output for each image of an .npy file (N, ...), run one by one: an .npy file."""
    session = _session(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    name = session.get_inputs()[0].name
    batch = np.load(io.BytesIO(images), allow_pickle=False)
    scores = np.concatenate([session.run(None, {name: image[None]})[0] for image in batch])
    buffer = io.BytesIO()
    np.save(buffer, scores, allow_pickle=False)
    return buffer.getvalue()


TASKS: Mapping[str, Callable[..., bytes]] = {
    task.__name__: task for task in (checked, inferred, shapes_of_a_run, scores_of_a_run)
}


def perform(task: str, *blobs: bytes) -> bytes:
    """Run a task in this process; whatever native code raises becomes a NativeError."""
    try:
        return TASKS[task](*blobs)
    # onnx's and ONNX Runtime's errors share no base, and a hostile file finds ever new ones.
    except Exception as error:
        raise NativeError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """On one line, without ONNX Runtime's codes and the places in its source."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ", " ", text)
    return " ".join(text.split())[:MAX_REASON] or type(error).__name__


def _description(value: Any) -> tuple[list[int], int] | None:
    """The shape and element type of a tensor of numbers."""
    if not isinstance(value, np.ndarray) or value.dtype == object:
        return None
    return list(value.shape), int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _session(model: bytes, level: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    for line in requests:
        request = json.loads(line)
        blobs = [requests.read(size) for size in request["sizes"]]
        try:
            result = perform(request["task"], *blobs)
            header: dict[str, Any] = {"size": len(result)}
        except NativeError as error:
            header, result = {"error": str(error)}, b""
        answers.write(json.dumps(header, allow_nan=False).encode() + b"\n" + result)
        answers.flush()


def main() -> None:
    """Serve requests until stdin ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no answer
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
