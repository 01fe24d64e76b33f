"""The files of an export in a run directory: they belong together, and are written last."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdedge.deploy.card import DATA_NOTES, PER_CLASS, ClassCount
from sdedge.deploy.formats.onnx.verify import ExportReport
from sdedge.deploy.int8.choose import Int8Report
from sdedge.files import json_bytes, write_together
from sdedge.run import RunDir


def write_export(
    run: RunDir,
    model: bytes,
    report: ExportReport,
    by_class: Sequence[ClassCount],
    int8: tuple[bytes, Int8Report] | None = None,
    data_notes: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Path]]:
    """Write the ONNX files and export.json; gives its content, and the earlier files that went.

    `data_notes` say what is to be known of the test images. An INT8 file and figures of an earlier
    export go. Raises RunError when the folder cannot be written: all is then as it was. A kill
    leaves files of one export only, if perhaps not all.
    """
    value = {**report.to_dict(), PER_CLASS: [asdict(count) for count in by_class]}
    files = {run.onnx: model}
    if int8 is not None:
        files[run.onnx_int8] = int8[0]
        value["int8"] = int8[1].to_dict()
    if data_notes:
        value[DATA_NOTES] = list(data_notes)
    files[run.export_report] = json_bytes(value, run.export_report)
    outdated = (  # of an earlier export, and untrue of a new one
        run.export_report,
        run.card,
        run.bench("fp32"),
        run.bench("int8"),
        run.targets,
        run.fit,
        run.bundle,
        run.onnx_int8,
    )
    with run.lock():
        removed = write_together(files, outdated=outdated)
    return value, removed
