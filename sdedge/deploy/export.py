"""The files of an export in a run directory: they belong together, and are written last."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.classes import ClassCount
from sdedge.deploy.card.records import DATA_NOTES, PER_CLASS
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.registry import FORMATS
from sdedge.deploy.ir.graph import PRECISIONS
from sdedge.files import json_bytes, write_together
from sdedge.run import RunDir


def write_export(
    run: RunDir,
    artifacts: Sequence[Artifact],
    by_class: Iterable[ClassCount],
    data_notes: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Path]]:
    """Write the exported files and export.json; gives its content, and the earlier files that went.

    `data_notes` say what is to be known of the test images. Files and figures of an earlier export
    go. Raises RunError when the folder cannot be written: all is then as it was. A kill leaves
    files of one export only, if perhaps not all.
    """
    reports = {
        (each.format, each.precision): each.report.to_dict() if each.report else {}
        for each in artifacts
    }
    value = {
        **reports[ONNX.name, "fp32"],
        PER_CLASS: [asdict(count) for count in by_class],
    }
    if (ONNX.name, "int8") in reports:
        value["int8"] = reports[ONNX.name, "int8"]
    if data_notes:
        value[DATA_NOTES] = list(data_notes)
    others: dict[str, Any] = {}
    for (name, precision), report in reports.items():
        if name != ONNX.name:
            others.setdefault(name, {})[precision] = report
    if others:
        value["formats"] = others
    contents = {path: data for each in artifacts for path, data in each.files.items()}
    contents[run.export_report] = json_bytes(value, run.export_report)
    models = (
        run.path / name
        for form in FORMATS.values()
        for precision in PRECISIONS
        for name in form.file_names(precision)
    )
    outdated = (  # of an earlier export, and untrue of a new one
        run.export_report,
        run.card,
        *map(run.bench, PRECISIONS),
        run.targets,
        run.fit,
        run.bundle,
        *(path for path in models if path != run.onnx),  # which is replaced
    )
    with run.lock():
        removed = write_together(contents, outdated=outdated)
    return value, removed
