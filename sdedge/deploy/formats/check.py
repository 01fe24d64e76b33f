"""Hold a file of another format against the ONNX file of the same network."""

from dataclasses import asdict, dataclass
from typing import Any

from sdedge.data.dataset import Split
from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.onnx.verify import LOGIT_TOLERANCE
from sdedge.deploy.formats.scores import Progress, class_scores, first_rows, model_input
from sdedge.deploy.ir.model import Model
from sdedge.errors import ExportError


@dataclass(frozen=True, kw_only=True)
class FormatReport:
    """What the check of a file found; the figures are None where nothing here can run it."""

    file_size_bytes: int  # of all its files
    images: int | None = None
    accuracy: float | None = None
    differing_predictions: int | None = None  # from the ONNX file's
    max_abs_logit_difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def check_format(
    form: Format,
    content: tuple[bytes, ...],
    onnx: bytes,
    model: Model,
    split: Split,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> FormatReport:
    """Run a file on the first `limit` images of `split` (None: all), if there is an interpreter.

    `onnx` is the ONNX file of the same `model`. Raises ExportError where the scores of an fp32 file
    differ by more than LOGIT_TOLERANCE, and where the interpreter fails.
    """
    size = sum(map(len, content))
    run = form.run(content)
    if run is None:
        return FormatReport(file_size_bytes=size)
    rows = first_rows(split, limit)
    to_input = model_input(model.description, normalize=model.normalize)
    actual, expected = class_scores([run, load(onnx)], split, rows, to_input, progress)
    if actual.shape != expected.shape:
        raise ExportError(
            f"the {form.title} file gives scores of shape {actual.shape}, ONNX {expected.shape}"
        )
    difference = float(abs(actual - expected).max())
    allowed = LOGIT_TOLERANCE * max(1.0, float(abs(expected).max()))
    if model.precision == "fp32" and difference > allowed:
        raise ExportError(
            f"the scores of the {form.title} file differ from ONNX's by {difference:.3g}, more "
            f"than the {allowed:.3g} that rounding explains"
        )
    classes = actual.argmax(axis=1)
    return FormatReport(
        file_size_bytes=size,
        images=len(rows),
        accuracy=float((classes == split.labels[rows]).mean()),
        differing_predictions=int((classes != expected.argmax(axis=1)).sum()),
        max_abs_logit_difference=difference,
    )
