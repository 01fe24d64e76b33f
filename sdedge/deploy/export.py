"""The files of an export in a run directory: they belong together, and are written last."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.classes import ClassCount
from sdedge.deploy.card.records import DATA_NOTES, PER_CLASS
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.registry import FORMATS
from sdedge.deploy.ir.graph import PRECISIONS
from sdedge.errors import RunError
from sdedge.files import json_bytes, write_together
from sdedge.run import RunDir
from sdedge.schema import read_record

_MODEL = re.compile(r"model(\.[A-Za-z0-9]+)+")  # the name of an exported file, and of no other


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
    files = {
        (each.format, each.precision): [path.name for path in each.files] for each in artifacts
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
            others.setdefault(name, {})[precision] = {"files": files[name, precision], **report}
    if others:
        value["formats"] = others
    contents = {path: data for each in artifacts for path, data in each.files.items()}
    contents[run.export_report] = json_bytes(value, run.export_report)
    models = {
        *(
            run.path / name
            for form in FORMATS.values()
            for precision in PRECISIONS
            for name in form.file_names(precision)
        ),
        *_recorded(run),
    }
    outdated = (  # of an earlier export, and untrue of a new one
        run.export_report,
        run.card,
        *map(run.bench, PRECISIONS),
        run.targets,
        run.fit,
        run.bundle,
        *sorted(models - {run.onnx}),  # which is replaced
    )
    with run.lock():
        removed = write_together(contents, outdated=outdated)
    return value, removed


@dataclass(frozen=True, kw_only=True)
class _Files:
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    formats: Mapping[str, Mapping[str, _Files]] | None = None


def _recorded(run: RunDir) -> list[Path]:
    """Files of the earlier export, also of formats that are no longer registered."""
    try:
        earlier = read_record(run.export_report, _Earlier)
    except RunError:  # there is none, or it is damaged: what is replaced need not be sound
        return []
    names = [
        name
        for precisions in (earlier.formats or {}).values()
        for form in precisions.values()
        for name in form.files
        if _MODEL.fullmatch(name)
    ]
    return [run.path / name for name in names if (run.path / name).is_file()]
