"""The model card: what an exported network is, proved to do and needs, in one Markdown file.

Everything in it is read from the run directory or follows from its ONNX files; what was not
measured is left out or said to be unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdedge.config import SearchConfig, TrainConfig
from sdedge.deploy.card_budget import budget_part, prediction_lines
from sdedge.deploy.card_text import table, threads
from sdedge.deploy.formats.onnx.metadata import Metadata, read_metadata
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.memory.plan import flash_bytes, plan_memory
from sdedge.deploy.records import BenchFile, ExportFile, read_report
from sdedge.deploy.snippets import cpp_snippet, python_snippet
from sdedge.errors import RunError
from sdedge.escape import markdown, markdown_code
from sdedge.files import write_atomic
from sdedge.proportion import FEW_IMAGES, interval
from sdedge.run import RunDir

DATA_NOTES = "data_notes"  # in export.json: what is to be known of the test images
PER_CLASS = "per_class"  # in export.json: the dicts of ClassCount


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How many test images of one class each network names rightly."""

    name: str
    images: int
    fp32_correct: int
    int8_correct: int | None = None


def count_by_class(
    classes: Sequence[str],
    labels: NDArray[np.int64],  # (N,)
    fp32: NDArray[np.int64],  # (N,) predictions
    int8: NDArray[np.int64] | None = None,
) -> tuple[ClassCount, ...]:
    """Count right predictions class by class, in the order of `classes`."""

    def count(of: NDArray[np.int64]) -> list[int]:
        return [int((of == label).sum()) for label in range(len(classes))]

    images, right = count(labels), count(labels[fp32 == labels])
    right_int8 = [None] * len(classes) if int8 is None else count(labels[int8 == labels])
    return tuple(
        ClassCount(name=name, images=images, fp32_correct=fp32_correct, int8_correct=int8_correct)
        for name, images, fp32_correct, int8_correct in zip(
            classes, images, right, right_int8, strict=True
        )
    )


def write_card(run: RunDir) -> Path:
    """Write model-card.md beside the ONNX files of `run`, from what the run holds by now.

    Raises RunError where the run has no export, and ExportError for a damaged ONNX file.
    """
    write_atomic(run.card, card_text(run).encode())
    return run.card


def card_text(run: RunDir) -> str:
    """The card as Markdown; see `write_card`."""
    metadata = read_metadata(run.require(run.onnx, "export"))
    again = f"export --run {run.path}"
    export = read_report(run.require(run.export_report, "export"), ExportFile, again)
    source = str(run.config)
    train = TrainConfig.from_dict(run.settings("train"), source=source).to_dict()
    dataset = markdown(Path(train["dataset"]).name)
    try:
        recommended = _files(run, export)[export.get("int8", {}).get("recommended", "fp32")]
        parts = [
            f"# Model card: {dataset}, {len(metadata.classes)} classes",
            _what(run, metadata, export, train),
            f"## Data\n\n{_data(export, train, dataset)}",
            f"## Accuracy\n\n{_accuracy(export)}",
            f"## Size and memory\n\n{_size(run, export)}",
            *([f"## Budget\n\n{budget}"] if (budget := budget_part(run)) else []),
            f"## Latency\n\n{_latency(run, export)}",
            f"## Input\n\n{_input(metadata)}",
            f"## Use and limits\n\n{_limits(metadata, export, dataset)}",
            f"## Run it\n\n{_run(metadata, recommended)}",
        ]
    except KeyError as error:
        raise RunError(
            f"{run.path}: export.json, config.json or a bench file lacks {error}; "
            f"make it again with `sdedge export --run {run.path}`"
        ) from error
    return "\n\n".join(parts) + "\n"


def _files(run: RunDir, export: Mapping[str, Any]) -> dict[str, str]:
    """The ONNX files of the export, by precision."""
    int8 = {"int8": run.onnx_int8.name} if "int8" in export else {}
    return {"fp32": run.onnx.name, **int8}


def _what(
    run: RunDir, metadata: Metadata, export: Mapping[str, Any], train: Mapping[str, Any]
) -> str:
    settings = run.phases().get("search")
    search = settings and SearchConfig.from_dict(settings, source=str(run.config))
    origin = (
        f"found by a search in the same run (strategy {markdown(search.strategy)}, "
        f"task {markdown(search.task)})"
        if search
        else "given to the training"
    )
    files = _files(run, export).items()
    names = " and ".join(f"`{name}` ({precision})" for precision, name in files)
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


def _accuracy(export: Mapping[str, Any]) -> str:
    """Measured in ONNX Runtime on the files themselves."""
    int8 = export.get("int8")
    counts = [ClassCount(**count) for count in export.get(PER_CLASS, ())]
    precisions = ["fp32", "int8"] if int8 else ["fp32"]
    total = [export["onnx_accuracy"], *([int8["onnx_accuracy"]] if int8 else [])]
    rows = [["all", f"{export['images']:,}", *map(_percent, total)]]
    for count in counts:
        rights = [count.fp32_correct, count.int8_correct][: len(precisions)]
        shares = [_share(right, count.images) for right in rights]
        rows.append([markdown(count.name), f"{count.images:,}", *shares])
    note = "" if counts else "\n\nNot counted by class."
    if 0 < export["images"] < FEW_IMAGES:
        ends = (f"{end:.0%}" for end in interval(total[0], export["images"]))
        note += (
            "\n\nOn so few images an accuracy says little: that of fp32 over all classes is "
            f"{' to '.join(ends)}, with 95% confidence."
        )
    return (
        "Share of test images whose class has the highest score, in ONNX Runtime.\n\n"
        + table(["class", "images", *precisions], rows)
        + note
    )


def _size(run: RunDir, export: Mapping[str, Any]) -> str:
    rows = []
    for precision, name in _files(run, export).items():
        graph = read_graph(run.path / name)
        rows.append(
            [
                f"`{name}`",
                precision,
                f"{graph.file_size_bytes:,} bytes",
                f"{plan_memory(graph).peak_ram_bytes:,} bytes",
                f"{flash_bytes(graph):,} bytes",
            ]
        )
    return (
        table(["file", "precision", "file size", "activations at their peak", "flash"], rows)
        + f"\n\n{graph.macs:,} multiply-accumulates an image. Activations are counted for one "
        "image, in the order in which the file holds its operators, the best one found. Flash is "
        "weights and graph, without a runtime's code."
    )


def _latency(run: RunDir, export: Mapping[str, Any]) -> str:
    lines = []
    for file in (run.bench("fp32"), run.bench("int8")):
        if file.exists():
            again = f"bench --run {run.path}"
            bench = read_report(file, BenchFile, again)
            unsettled = "" if bench["settled"] else "; not settled, the machine was busy"
            lines.append(
                f"- {markdown_code(bench['model'])} on {markdown(bench['cpu_model'])}, "
                f"{threads(bench['threads'])}, "
                f"batch {bench['batch_size']}, "
                f"ONNX Runtime {markdown(bench['onnxruntime_version'])}: p50 "
                f"{bench['latency_p50_ms']:.3f} ms, p95 {bench['latency_p95_ms']:.3f} ms, p99 "
                f"{bench['latency_p99_ms']:.3f} ms over {bench['runs']:,} runs{unsettled}"
            )
    if int8 := export.get("int8"):
        unsettled = "" if int8["settled"] else "; not settled, the machine was busy"
        lines.append(
            f"- Both in turns on the machine of the export, {threads(int8['threads'])}, one "
            f"image: fp32 p50 {int8['fp32_latency_p50_ms']:.3f} ms, p99 "
            f"{int8['fp32_latency_p99_ms']:.3f} ms; int8 p50 {int8['latency_p50_ms']:.3f} ms, "
            f"p99 {int8['latency_p99_ms']:.3f} ms{unsettled}"
        )
    parts = [*lines, "", "Nothing else was measured."]
    if not lines:
        parts = ["Not measured yet; `sdedge bench` measures it."]
    if predictions := prediction_lines(run):
        parts += ["", "Predicted, not measured:", "", *predictions]
    return "\n".join(parts)


def _input(metadata: Metadata) -> str:
    size = metadata.image_size
    scaling = "red, green, blue from 0 to 1"
    if not metadata.normalized_in_graph:
        mean, std = (", ".join(f"{x:.6g}" for x in v) for v in (metadata.mean, metadata.std))
        scaling += f", then (x - mean) / std with mean {mean} and std {std} of the channels"
    return (
        f"`input`: float32 (batch, 3, {size}, {size}). Of an image: {markdown(metadata.resize)}; "
        f"{scaling}. "
        f"`logits`: float32 (batch, {len(metadata.classes)}), one score a class in the order "
        "above, higher is likelier. The same is in the metadata of the ONNX files."
    )


def _limits(metadata: Metadata, export: Mapping[str, Any], dataset: str) -> str:
    lines = [
        f"For images like those of {dataset}, whole and centred as there. Any other image gets "
        "one of these classes, too: there is no answer for none of them.",
        "Scores are no calibrated probabilities.",
        f"Accuracy is known on the test images of {dataset} alone: not under other light, "
        "cameras or noise, not against attacks, and not for groups within a class.",
        "The files carry no licence of their own. What may be done with a network trained on "
        f"{dataset} depends on the terms of those images.",
    ]
    int8 = export.get("int8")
    if int8 and int8["weight_limit"] > 64:  # two products then overflow 16 bits
        lines.append(
            "On an x86 processor with AVX2 but without VNNI, ONNX Runtime's int8 sums saturate "
            "and int8 gives other scores: use fp32 there, or test it with `sdedge bundle`."
        )
    return "\n".join(f"- {line}" for line in lines)


def _run(metadata: Metadata, model: str) -> str:
    return (
        "Python, with onnxruntime, numpy and Pillow, for any picture:\n\n"
        f"```python\n{python_snippet(metadata, model)}```\n\n"
        "C++, with ONNX Runtime's header and library, for the bytes of a picture already cut and "
        "scaled:\n\n"
        f"```cpp\n{cpp_snippet(metadata, model)}```"
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"


def _share(right: int | None, images: int) -> str:
    return "" if right is None or not images else f"{100 * right / images:.1f}%"
