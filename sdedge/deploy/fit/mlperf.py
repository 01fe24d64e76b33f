"""How a CIFAR-10 network scores on the image-classification benchmarks of MLPerf Tiny.

The references are those of the closed division (mlcommons/tiny, benchmark/README.md): a top-1
accuracy, and the size of the file of the reference network that reaches it. A network of one's own
belongs in the open division; a score here is a comparison, never an official result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdedge.bounds import Natural, Share
from sdedge.deploy.formats.onnx.metadata import read_metadata
from sdedge.deploy.ir.graph import Precision
from sdedge.errors import RunError
from sdedge.run import RunDir, read_json
from sdedge.schema import to_record

TEST_IMAGES = 10_000
CLASSES = frozenset(
    {
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    }
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One benchmark: the accuracy it requires, and the file size of its reference network."""

    benchmark: str
    accuracy: float
    file_size_bytes: Mapping[Precision, int]


REFERENCES = (
    Reference(
        benchmark="Image Classification",
        accuracy=0.85,
        file_size_bytes={"fp32": 318_144, "int8": 98_496},
    ),
    Reference(
        benchmark="Image Classification 2",
        accuracy=0.91,
        file_size_bytes={"fp32": 1_929_208, "int8": 512_024},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A network against one reference; accuracies are fractions, sizes of the file."""

    benchmark: str
    reference_accuracy: float
    reference_file_size_bytes: int
    accurate: bool  # reaches the accuracy that the benchmark requires
    small: bool  # its file is no larger than the reference network's


@dataclass(frozen=True, kw_only=True)
class Score:
    """A network against every reference; `notes` say why its accuracy may not be comparable."""

    precision: Precision
    accuracy: float
    file_size_bytes: int
    images: int
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "official": False}


def score(
    *,
    accuracy: float,
    file_size_bytes: int,
    precision: Precision,
    images: int,
    dataset: str,
    classes: Sequence[str],
) -> Score | None:
    """Compare a network by its accuracy on `images` test images and the size of its ONNX file.

    `dataset` is as `--dataset` takes it: a name, or a folder. None where the classes are not those
    of CIFAR-10: the benchmarks say nothing about other images.
    """
    if {name.lower() for name in classes} != CLASSES or len(classes) != len(CLASSES):
        return None
    notes = []
    if dataset != "cifar10":
        notes.append(
            f"the images of {dataset} are taken for CIFAR-10's by their classes; MLPerf takes the "
            "original pixels, which JPEG changes"
        )
    if images != TEST_IMAGES:
        notes.append(f"accuracy on {images:,} of CIFAR-10's {TEST_IMAGES:,} test images")
    return Score(
        precision=precision,
        accuracy=accuracy,
        file_size_bytes=file_size_bytes,
        images=images,
        comparisons=tuple(
            Comparison(
                benchmark=reference.benchmark,
                reference_accuracy=reference.accuracy,
                reference_file_size_bytes=reference.file_size_bytes[precision],
                accurate=accuracy >= reference.accuracy,
                small=file_size_bytes <= reference.file_size_bytes[precision],
            )
            for reference in REFERENCES
        ),
        notes=tuple(notes),
    )


def score_run(run: RunDir) -> list[Score]:
    """The scores of a run's exported files, fp32 first; none for other classes.

    Raises RunError for a damaged export.json and ExportError for a damaged model.
    """
    export = run.export_report
    if not export.exists():
        return []
    report = read_json(export)
    reports: dict[Precision, tuple[Path, object]] = {"fp32": (run.onnx, report)}
    if run.onnx_int8.exists():
        reports["int8"] = (run.onnx_int8, report.get("int8"))
    classes = read_metadata(run.onnx).classes
    scores = (
        score(
            accuracy=_figures(part, export).onnx_accuracy,
            file_size_bytes=path.stat().st_size,
            precision=precision,
            images=_figures(part, export).images,
            dataset=str(run.settings("train").get("dataset")),
            classes=classes,
        )
        for precision, (path, part) in reports.items()
    )
    return [each for each in scores if each is not None]


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """Of export.json and of its int8 part, what a score needs."""

    onnx_accuracy: Share
    images: Natural


def _figures(report: object, source: Path) -> _Figures:
    try:
        return to_record(report, _Figures, source=f"{source} lacks a figure")
    except RunError as error:
        raise RunError(f"{error}; make it again with `sdedge export`") from None
