"""An export: from the trained network of a run to the files that a device runs, each checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdedge.data.dataset import Dataset
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.card.classes import count_by_class
from sdedge.deploy.card.write import write_card
from sdedge.deploy.export import write_export
from sdedge.deploy.fit.evaluate import variants_of
from sdedge.deploy.fit.recommend import recommend
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.formats.check import check_format
from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.onnx.verify import ExportReport, verify_onnx
from sdedge.deploy.formats.registry import find_formats
from sdedge.deploy.formats.scores import class_scores, first_rows, model_input
from sdedge.deploy.int8.report import Int8Report, judge
from sdedge.deploy.int8.search import CALIBRATION_IMAGES, quantize_model
from sdedge.deploy.ir.model import Model
from sdedge.deploy.ir.trace import trace_model
from sdedge.deploy.latency import compare
from sdedge.errors import BenchError, ConfigError, DataError, ExportError
from sdedge.events import Event, Notice, Progressed, Reporter, silent
from sdedge.pipeline.images import open_trained
from sdedge.pipeline.runs import RunLike, open_run
from sdedge.pipeline.verdict import Verdict, check_budget, stored_requirements
from sdedge.run import RunDir

THREADS = 1  # of the comparison of fp32 and int8

Classes = NDArray[np.int64]  # (N,)


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The files of an export.

    `artifacts` are the ONNX file first, quantised second, then those of other formats. `removed`
    are files of an earlier export that this one made untrue. `verdict` is on the budget of the run.
    """

    run: Path
    artifacts: tuple[Artifact, ...]
    content: dict[str, Any]  # of export.json
    normalize: bool
    calibration_images: int  # that were asked for
    removed: tuple[Path, ...] = ()
    verdict: Verdict | None = None

    @property
    def model(self) -> Path:
        """The ONNX file in fp32."""
        return self.artifacts[0].path

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "run": str(self.run),
            "model": str(self.model),
            **self.content,
            **({"removed": [path.name for path in self.removed]} if self.removed else {}),
            **({"budget": self.verdict.to_dict()} if self.verdict else {}),
        }


@dataclass(frozen=True)
class Exported(Event):
    """The files are written."""

    result: ExportResult


def export(
    run: RunLike = None,
    *,
    formats: Sequence[str] = (ONNX.name,),
    int8: bool = False,
    calibration_images: int = CALIBRATION_IMAGES,
    normalize: bool = False,
    dataset: str | None = None,
    data_root: str | None = None,
    limit: int | None = None,
    reporter: Reporter = silent,
) -> ExportResult:
    """Export the trained network of a run, and check each file on the test images.

    Args:
        run: a run directory, the result of a training, or None for the newest run.
        formats: names in `sdedge.deploy.formats.registry.FORMATS`. ONNX is always written: it is
            what the other formats are checked against, and what is measured and predicted.
        int8: quantise the network as well, and compare accuracy and latency.
        calibration_images: training images that the ranges of activations are taken from.
        normalize: put the normalisation of images inside the graph.
        dataset: where the images are now, by default as in the training.
        data_root: the folder of data sets that are known by name; the same.
        limit: check on this many test images; None for all.
        reporter: called with each event.

    Where only the quantisation fails, the fp32 files are written, and `Exported` is reported,
    before the ExportError. Raises RunError where there is no trained network, ConfigError for an
    unknown format or a count below 1, DataError for images that are missing or were trained on, and
    ExportError for a network that has no form in a format or a file that fails its check.
    """
    chosen = _check_settings(formats, int8=int8, calibration_images=calibration_images, limit=limit)
    folder = open_run(run)
    with folder.lock():
        network, description, data, notes = open_trained(folder, dataset, data_root, reporter)
        requirements = stored_requirements(folder)
        model = trace_model(network, description, normalize=normalize)
        content = ONNX.content(model)
        verified = verify_onnx(
            content[0],
            network,
            description,
            data.test,
            normalize=normalize,
            limit=limit,
            progress=_progress(reporter, "checking on test images"),
        )
        fp32 = Artifact.create(ONNX, "fp32", content, folder)
        writer = _Writer(folder, data, chosen, limit, reporter)
        onnx, others = [replace(fp32, report=verified.report)], writer.others(model, fp32)
        quantized = problem = None
        if int8:
            try:
                quantized = writer.quantize(
                    model, fp32, verified.report, calibration_images, requirements
                )
            except (BenchError, DataError, ExportError) as error:
                problem = error
            else:
                onnx.append(quantized.onnx)
                others += quantized.others
        by_class = count_by_class(
            data.classes,
            data.test.labels[:limit],
            verified.predicted,
            quantized.predicted if quantized else None,
        )
        value, removed = write_export(folder, [*onnx, *others], by_class, notes)
        try:
            verdict = check_budget(folder, variants_of(*onnx))
        finally:
            write_card(folder, onnx)
    result = ExportResult(
        run=folder.path.absolute(),
        artifacts=(*onnx, *others),
        content=value,
        normalize=normalize,
        calibration_images=calibration_images,
        removed=tuple(path for path in removed if not path.exists()),
        verdict=verdict,
    )
    reporter(Exported(result))
    if problem is not None:
        raise ExportError(
            f"{folder.onnx_int8} was not made, {folder.onnx} was: {problem}"
        ) from problem
    return result


def _check_settings(
    names: Sequence[str], *, int8: bool, calibration_images: int, limit: int | None
) -> tuple[Format, ...]:
    """The formats of these names; ConfigError for what cannot be exported."""
    for name, count in (("calibration_images", calibration_images), ("limit", limit)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ConfigError(f"{name} is {count}; it must be a whole number from 1")
    chosen = find_formats([names] if isinstance(names, str) else names)
    for form in chosen:
        if "fp32" not in form.precisions and not int8:
            raise ConfigError(
                f"format {form.name!r} is of int8 networks alone; quantise it: --int8"
            )
    return chosen


def _progress(reporter: Reporter, what: str) -> Callable[[int, int], None]:
    return lambda done, total: reporter(Progressed(what, done, total))


@dataclass(frozen=True)
class _Quantized:
    """The files of a quantised network, and its classes of the test images."""

    onnx: Artifact
    others: list[Artifact]
    predicted: Classes


@dataclass(frozen=True)
class _Writer:
    """Makes files for a run, and checks them on the first `limit` test images of `data`."""

    run: RunDir
    data: Dataset
    formats: Sequence[Format]
    limit: int | None
    reporter: Reporter

    def others(self, model: Model, onnx: Artifact) -> list[Artifact]:
        """The files of the formats besides ONNX, of those that have the precision of `model`."""
        made = []
        for form in self.formats:
            if form.name == ONNX.name or model.precision not in form.precisions:
                continue
            content = form.content(model)
            report = check_format(
                form,
                content,
                onnx.data,
                model,
                self.data.test,
                limit=self.limit,
                progress=_progress(self.reporter, f"checking {form.title} on test images"),
            )
            artifact = Artifact.create(form, model.precision, content, self.run, like=onnx)
            made.append(replace(artifact, report=report))
        return made

    def quantize(
        self,
        model: Model,
        fp32: Artifact,
        report: ExportReport,
        calibration_images: int,
        requirements: Requirements | None,
    ) -> _Quantized:
        """The quantised form of a model, and how it compares with `fp32`."""
        test = self.data.test
        self.reporter(Progressed("quantising", 0, 1))
        quantized = quantize_model(
            model, self.data, fp32.data, calibration_images=calibration_images
        )
        self.reporter(Progressed("quantising", 1, 1))
        to_input = model_input(model.description, normalize=model.normalize)
        run = load(quantized.data)
        for few in (1, 3):
            class_scores([run], test, first_rows(test, few), to_input)
        rows = first_rows(test, self.limit)
        progress = _progress(self.reporter, "checking int8 on test images")
        (scores,) = class_scores([run], test, rows, to_input, progress)
        predicted: Classes = scores.argmax(axis=1)
        artifact = Artifact.create(ONNX, "int8", [quantized.data], self.run)
        others = self.others(quantized.model, artifact)
        self.reporter(Notice("measuring"))
        latencies = compare.compare_latency(
            {"fp32": fp32.data, "int8": quantized.data},
            model.description.image_size,
            threads=THREADS,
        )
        accuracy = float((predicted == test.labels[rows]).mean())
        judged: Int8Report = judge(quantized, report, accuracy, latencies, THREADS)
        if requirements:
            judged = recommend(judged, fp32, artifact, requirements)
        return _Quantized(replace(artifact, report=judged), others, predicted)
