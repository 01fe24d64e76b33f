"""The model card: what an exported network is, proved to do and needs, in one Markdown file.

Everything in it is read from the run directory or follows from its ONNX files; what was not
measured is left out or said to be unknown.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdedge.config import TrainConfig
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.budget import budget_part
from sdedge.deploy.card.records import DATA_NOTES, ExportFile, SearchOrigin, read_report
from sdedge.deploy.card.results import accuracy_part, latency_part, size_part
from sdedge.deploy.card.usage import input_part, limits_part, programs_part
from sdedge.deploy.formats.onnx.metadata import Metadata
from sdedge.deploy.ir.graph import Precision
from sdedge.errors import RunError
from sdedge.escape import markdown
from sdedge.files import write_atomic
from sdedge.run import RunDir
from sdedge.schema import to_record


def write_card(run: RunDir, artifacts: Iterable[Artifact] | None = None) -> Path:
    """Write model-card.md of `run` from the reports that the run has so far.

    `artifacts` are the ONNX files of the run, where they have been read already. Raises RunError
    where the run has no export, and ExportError for a damaged ONNX file.
    """
    write_atomic(run.card, card_text(run, artifacts).encode())
    return run.card


def card_text(run: RunDir, artifacts: Iterable[Artifact] | None = None) -> str:
    """The card as Markdown; see `write_card`."""
    opened = Artifact.of_run(run) if artifacts is None else artifacts
    by_precision = {artifact.precision: artifact for artifact in opened}
    metadata = by_precision["fp32"].metadata()
    again = f"export --run {run.path}"
    export = read_report(run.require(run.export_report, "export"), ExportFile, again)
    source = str(run.config)
    train = TrainConfig.from_dict(run.settings("train"), source=source).to_dict()
    dataset = markdown(Path(train["dataset"]).name)
    try:
        precisions: tuple[Precision, ...] = ("fp32", "int8") if "int8" in export else ("fp32",)
        files = {precision: by_precision[precision] for precision in precisions}
        recommended = files[export["int8"]["recommended"] if "int8" in export else "fp32"]
        parts = [
            f"# Model card: {dataset}, {len(metadata.classes)} classes",
            _what(run, metadata, export, train, files),
            f"## Data\n\n{_data(export, train, dataset)}",
            f"## Accuracy\n\n{accuracy_part(export)}",
            f"## Size and memory\n\n{size_part(files)}",
            *([f"## Budget\n\n{budget}"] if (budget := budget_part(run)) else []),
            f"## Latency\n\n{latency_part(run, export)}",
            f"## Input\n\n{input_part(metadata)}",
            f"## Use and limits\n\n{limits_part(export, dataset)}",
            f"## Run it\n\n{programs_part(metadata, recommended.path.name)}",
        ]
    except KeyError as error:
        raise RunError(
            f"{run.path}: export.json, config.json or a bench file lacks {error}; "
            f"make it again with `sdedge export --run {run.path}`"
        ) from error
    return "\n\n".join(parts) + "\n"


def _what(
    run: RunDir,
    metadata: Metadata,
    export: Mapping[str, Any],
    train: Mapping[str, Any],
    files: Mapping[Precision, Artifact],
) -> str:
    settings = run.phases().get("search")
    source = f"{run.config}: the search"
    search = to_record(settings, SearchOrigin, source=source) if settings else None
    origin = (
        f"found by a search in the same run (strategy {markdown(search.strategy)}, "
        f"task {markdown(search.task)})"
        if search
        else "given to the training"
    )
    names = " and ".join(f"`{file.path.name}` ({precision})" for precision, file in files.items())
    int8 = export.get("int8")
    advice = f" {_advice(int8)}" if int8 else ""
    return (
        f"A convolutional network that sorts an image of {metadata.image_size} x "
        f"{metadata.image_size} pixels into one of {len(metadata.classes)} classes: "
        f"{', '.join(map(markdown, metadata.classes))}. {train['cells']} cells of "
        f"{train['channels']} channels at first, {export['parameters']:,} parameters; the "
        f"cell was {origin} and is in the files' metadata.\n\n"
        f"Files: {names}, ONNX opset {export['opset']}, made by sdedge "
        f"{markdown(metadata.sdedge_version)}.{advice}"
    )


def _advice(int8: Mapping[str, Any]) -> str:
    where = markdown(int8.get("recommended_for") or "the machine of the export")
    reasons = f" ({'; '.join(map(markdown, int8['reasons']))})" if int8["reasons"] else ""
    return f"Recommended for {where}: {int8['recommended']}{reasons}."


def _data(export: Mapping[str, Any], train: Mapping[str, Any], dataset: str) -> str:
    unseen = ", which took no part in training"
    if notes := export.get(DATA_NOTES):
        unseen = f" (note: {'; '.join(map(markdown, notes))})"
    return (
        f"Trained on the training images of {dataset} (epochs: {train['epochs']}, batch size: "
        f"{train['batch_size']}, augmentation: {train['augmentation']}, seed: {train['seed']}); "
        f"tested on {export['images']:,} of its test images{unseen}."
    )
