"""The files of an export in a run directory: they belong together, and are written last."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sdedge.deploy.card import CARD, PER_CLASS, ClassCount
from sdedge.deploy.int8.choose import Int8Report
from sdedge.deploy.onnx.verify import ExportReport
from sdedge.run import RunDir, explain_write_errors, write_atomic, write_json

_REPORT = "export.json"
# Of an earlier export, and untrue of a new one.
_OUTDATED = (
    _REPORT,
    CARD,
    "bench.json",
    "bench.int8.json",
    "targets.json",
    "fit.json",
    "bundle.zip",
)


def write_export(
    run: RunDir,
    model: bytes,
    report: ExportReport,
    by_class: Sequence[ClassCount],
    int8: tuple[bytes, Int8Report] | None = None,
) -> dict[str, Any]:
    """Write the ONNX files and export.json, whose content is returned.

    An INT8 file and figures of an earlier export go. Raises RunError when the folder cannot be
    written; until the first new file is whole, everything is as it was, and what fails after that
    leaves no figures of another file.
    """
    write_atomic(run.onnx, model)
    for outdated in (*(run.path / name for name in _OUTDATED), run.onnx_int8):
        with explain_write_errors(outdated):
            outdated.unlink(missing_ok=True)
    value = {**report.to_dict(), PER_CLASS: [asdict(count) for count in by_class]}
    if int8 is not None:
        write_atomic(run.onnx_int8, int8[0])
        value["int8"] = int8[1].to_dict()
    write_json(run.path / _REPORT, value)
    return value
