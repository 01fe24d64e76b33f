"""One zip that proves and measures networks on a board: what `sdedge bundle` writes.

Beside the networks it holds `board.py` and `bench.py`, which need Python, numpy and onnxruntime
alone; images with the outputs that onnxruntime gives here; and micro-benchmarks from which
`sdedge targets calibrate` makes a profile of the board. The same contents give the same bytes.
"""

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import helper

from sdedge.data.augment import Preprocess
from sdedge.data.dataset import Split
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.board.micro import micro_models
from sdedge.deploy.formats.onnx.reader import contained
from sdedge.deploy.formats.onnx.reader.classifier import parse_model
from sdedge.deploy.formats.onnx.reader.native import NativeError
from sdedge.deploy.latency.bench import random_image
from sdedge.deploy.latency.profiler import BENCH_SCRIPT
from sdedge.errors import BenchError, ExportError
from sdedge.escape import printable
from sdedge.files import write_atomic
from sdedge.run import RunDir, read_json

FOLDER = "sdedge-bundle"
BOARD_SCRIPT = Path(__file__).with_name("board.py")
SAMPLES = 16
CANDIDATES = 64  # images they are chosen from
SAMPLE_BYTES = 2**20  # large images: fewer of them
# Largest difference to the logits computed here, as a share of the largest of them where that is
# over 1. fp32: the order of sums. int8: a value on the border between two steps, rounded to the
# other one by a kernel with another instruction set, moves the rest of the network a little.
TOLERANCES = {"fp32": 1e-4, "int8": 0.02}

README = """\
Check and measure these networks on your board: {models}.

    python3 -m zipfile -e bundle.zip . && cd {folder}
    python3 -m pip install numpy onnxruntime
    python3 board.py

It checks that every file is whole and that the outputs are those of the machine where this was
made, measures latency, and writes result.json. Leave the board idle meanwhile (a few minutes);
--threads N sets the number of threads. Then, where sdedge is installed,

    sdedge targets calibrate NAME result.json

makes a profile of the board, with which other networks can be predicted.
"""


@dataclass(frozen=True)
class Samples:
    """Images as a model takes them, and its logits for each of them, run one by one."""

    images: NDArray[Any]  # (N, *input shape without the batch)
    logits: NDArray[np.float32]  # (N, classes)
    tolerance: float  # largest difference of a logit that rounding explains

    def head(self, rows: NDArray[np.intp]) -> "Samples":
        """Those at `rows`."""
        return Samples(self.images[rows], self.logits[rows], self.tolerance)

    @property
    def margins(self) -> NDArray[np.float32]:
        """How far the best class leads, image by image."""
        ordered = np.sort(self.logits, axis=1)
        return np.subtract(ordered[:, -1], ordered[:, -2])

    def to_npz(self) -> bytes:
        """The arrays as an .npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=self.images, logits=self.logits)
        return buffer.getvalue()


def bundle_run(run: RunDir, split: Split, path: Path | None = None) -> tuple[Path, list[str]]:
    """Bundle the networks that `run` exported, with images of `split`, its data set's test half.

    `path` None takes bundle.zip in the run directory. Returns the zip and the names of the
    networks in it. Raises what `write_bundle` does, and ExportError for a damaged model.
    """
    models = Artifact.of_run(run)
    metadata = models[0].metadata()
    expected = (1, 3, metadata.image_size, metadata.image_size)
    for model in models:
        if (taken := model.graph.values[model.graph.inputs[0]].shape) != expected:
            raise ExportError(
                f"{model.path} takes images of shape {taken[1:]}, and {run.onnx} says that they "
                f"are {expected[1:]}; make both again with `sdedge export`"
            )
    identity = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std = identity if metadata.normalized_in_graph else (metadata.mean, metadata.std)
    prepare = Preprocess(mean, std, metadata.image_size, None, torch.device("cpu"))
    rows = np.unique(np.linspace(0, len(split.labels) - 1, CANDIDATES).astype(np.intp))
    images = prepare(torch.from_numpy(split.images[rows])).contiguous().numpy()
    contents = {model.path.name: model.data for model in models}
    return write_bundle(path or run.bundle, contents, images), [*contents]


def write_bundle(
    path: Path,
    models: Mapping[str, bytes],
    images: NDArray[np.float32],
    *,
    micro: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the zip, atomically; returns `path`.

    `models` are ONNX files by name, all with the input that `images` (N, 3, S, S) are prepared
    for. Of these images up to 16 are taken, first those whose class is clear to every model.
    `micro` None takes `micro_models()`. Raises ExportError for a model that does not run on them
    and RunError when the file cannot be written.
    """
    samples = {name: sample(data, images, name) for name, data in models.items()}
    rows = _clearest(list(samples.values()))
    chosen = {name: values.head(rows) for name, values in samples.items()}
    readme = README.format(models=", ".join(models), folder=FOLDER)
    files = bundle_files(models, chosen, micro_models() if micro is None else micro)
    write_atomic(path, _zipped({**files, "README.txt": readme.encode()}))
    return path


def measure_host(
    models: Mapping[str, bytes],
    threads: int,
    *,
    micro: Mapping[str, bytes] | None = None,
    seconds: float = 2.0,
) -> dict[str, Any]:
    """Measure on this machine just as a bundle does on a board; returns its result.

    `models` are ONNX files of any input by name, run on noise for `seconds` at least each.
    `micro` None takes `micro_models()`. Raises ExportError and BenchError.
    """
    samples = {name: sample(data, _noise(data), name) for name, data in models.items()}
    files = bundle_files(models, samples, micro_models() if micro is None else micro)
    with tempfile.TemporaryDirectory(prefix="sdedge-bundle-") as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(data)
        result = folder / "result.json"
        done = subprocess.run(
            [sys.executable, folder / BOARD_SCRIPT.name, f"--threads={threads}",
             f"--seconds={seconds}", f"--out={result}"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            raise BenchError(f"measuring this machine failed: {(lines or ['no message'])[-1]}")
        return read_json(result)


def bundle_files(
    models: Mapping[str, bytes], samples: Mapping[str, Samples], micro: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files of a bundle by name, but for the README; the manifest has the sha256 of each."""
    files = {script.name: script.read_bytes() for script in (BENCH_SCRIPT, BOARD_SCRIPT)}
    entries = []
    for name, data in models.items():
        file = f"samples/{Path(name).stem}.npz"
        files[name] = data
        files[file] = samples[name].to_npz()
        entries.append(
            {
                "file": name,
                "precision": precision(data),
                "samples": file,
                "tolerance": samples[name].tolerance,
            }
        )
    files |= {f"micro/{name}": data for name, data in micro.items()}
    manifest = {
        "format": 1,
        "models": entries,
        "micro": [
            {"file": f"micro/{name}", "precision": precision(data)} for name, data in micro.items()
        ],
        "sha256": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    return {
        **files,
        "manifest.json": (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode(),
    }


def sample(model: bytes, images: NDArray[Any], name: str) -> Samples:
    """Run each image by itself on one thread; ExportError naming the model where that fails.

    A damaged model can end or fill the process that runs it, so that is another one.
    """
    packed = io.BytesIO()
    np.save(packed, images, allow_pickle=False)
    failure = f"{name} does not run on images of shape {images.shape[1:]}"
    try:
        data = contained.run("scores_of_a_run", model, packed.getvalue())
    except NativeError as error:
        raise ExportError(
            f"{failure} in ONNX Runtime {ort.__version__}: {printable(str(error))}; export it again"
        ) from error
    logits = np.load(io.BytesIO(data), allow_pickle=False)
    if logits.dtype != np.float32 or logits.ndim != 2 or logits.shape[1] < 2:
        raise ExportError(
            f"{failure}: its output is {logits.dtype} of shape {logits.shape}, not a score for "
            "each class; export it again"
        )
    if not np.isfinite(logits).all():
        raise ExportError(f"{name} gives scores that are not finite; export it again")
    share = TOLERANCES[precision(model)]
    return Samples(images, logits, share * max(1.0, float(np.abs(logits).max())))


def precision(model: bytes) -> str:
    """int8 where any node quantises, else fp32."""
    types = {node.op_type for node in parse_model(model, "the model").graph.node}
    quantised = any("Quantize" in name or name.startswith("QLinear") for name in types)
    return "int8" if quantised else "fp32"


def _clearest(samples: list[Samples]) -> NDArray[np.intp]:
    """Rows to ship: those where no model's class hangs on rounding first, in the order given."""
    clear = np.all([each.margins > 2 * each.tolerance for each in samples], axis=0)
    images = samples[0].images
    count = max(2, min(SAMPLES, SAMPLE_BYTES // images[0].nbytes))
    return np.argsort(~clear, kind="stable")[:count]


def _noise(model: bytes) -> NDArray[Any]:
    """Two images of the size that a model made here takes."""
    tensor = parse_model(model, "the model").graph.input[0].type.tensor_type
    shape = [2, *(dim.dim_value for dim in tensor.shape.dim[1:])]
    images: NDArray[Any] = random_image(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return images


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}")  # its date is that of 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()
