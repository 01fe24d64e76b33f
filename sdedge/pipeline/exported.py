"""The network that is measured, predicted and held against a budget: a run's, or a file's.

No torch is loaded before a budget or a model card needs it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.evaluate import Variant, variants_of
from sdedge.deploy.fit.mlperf import Score, score_run
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.latency.profiler import Measurement
from sdedge.errors import ConfigError, RunError
from sdedge.events import Notice, Reporter
from sdedge.files import write_json
from sdedge.paths import checked_path
from sdedge.pipeline.runs import HasRun, open_run
from sdedge.run import RunDir, read_json

if TYPE_CHECKING:
    from sdedge.deploy.fit.requirements import Requirements


@dataclass(frozen=True)
class ExportedNetwork:
    """A network in ONNX: the export of `run`, or without a run the file `model` of any tool.

    `shape` gives the three dimensions after the batch of a file that leaves them open, and
    `opened` is the file where it has been read already.
    """

    run: RunDir | None
    model: Path
    shape: tuple[int, ...] | None = None
    opened: tuple[Artifact, ...] = ()

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Its files, fp32 first, read once; ExportError for one that is no classifier."""
        if self.opened:
            return self.opened
        if self.run:
            return Artifact.of_run(self.run, self.shape)
        return (Artifact.open(self.model, self.shape),)

    @cached_property
    def variants(self) -> dict[Precision, Variant]:
        """The network in each precision, as quantised where there is no such file."""
        return variants_of(*self.artifacts)

    @property
    def folder(self) -> Path | None:
        """The run directory, if it is of a run."""
        return None if self.run is None else self.run.path

    @classmethod
    def find(
        cls, model: "ModelLike" = None, shape: Sequence[int] | None = None
    ) -> "ExportedNetwork":
        """The network of a run directory, of a result, of a file, or of the newest run.

        Raises RunError where there is no run, or no export in it.
        """
        if isinstance(model, Artifact):
            network = cls(None, model.path, opened=(model,))
        elif isinstance(model, str | Path) and not checked_path(model).is_dir():
            network = cls(None, checked_path(model))
        else:
            network = model if isinstance(model, ExportedNetwork) else cls.of_run(model)
        return network if shape is None else replace(network, shape=tuple(shape))

    @classmethod
    def of_run(cls, run: "str | Path | HasRun | None" = None) -> "ExportedNetwork":
        """The export of a run; RunError where there is none."""
        opened = open_run(run)
        return cls(opened, opened.require(opened.onnx, "export"))

    def announce(self, reporter: Reporter) -> None:
        """Report which run it is, as the caller may have left that open."""
        if self.run is not None:
            reporter(Notice(f"run directory {self.run.path}"))

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run, which keeps the results; nothing is written for a file."""
        return self.run.lock() if self.run else nullcontext()

    def budget(self) -> "Requirements | None":
        """The budget of the run, if it has one; RunError or TargetError for a damaged one."""
        if self.run is None:
            return None
        from sdedge.pipeline.verdict import stored_requirements

        return stored_requirements(self.run)

    def file(self, precision: Precision | None) -> Path:
        """The file to measure; RunError where the run has none of that precision."""
        if self.run is None:
            if precision is not None:
                raise ConfigError(
                    f"--precision {precision} chooses a file of a run to measure, but --model "
                    f"names {self.model}; leave out one"
                )
            return self.model
        if precision != "int8":
            return self.model
        if not self.run.onnx_int8.exists():
            raise RunError(
                f"{self.run.onnx_int8} is not there yet; make it with "
                f"`sdedge export --int8 --run {self.run.path}`"
            )
        return self.run.onnx_int8

    def measurements(self) -> list[Measurement]:
        """What the run keeps of earlier measurements; BenchError for damaged ones."""
        if self.run is None:
            return []
        files = [self.run.bench(precision) for precision in PRECISIONS]
        return [
            Measurement.from_dict(read_json(file), source=str(file))
            for file in files
            if file.exists()
        ]

    def keep_measurement(self, measurement: Measurement, precision: Precision | None) -> None:
        """Write it into the run."""
        if self.run is not None:
            write_json(self.run.bench(precision or "fp32"), measurement.to_dict())

    def scores(self) -> tuple[Score, ...]:
        """The MLPerf Tiny scores of the run's files; none for other images."""
        return tuple(score_run(self.run)) if self.run else ()

    def rewrite_card(self) -> None:
        """Put what the run keeps by now into its model card, where it has one."""
        if self.run is not None and self.run.card.exists():
            from sdedge.deploy.card.write import write_card

            write_card(self.run, self.artifacts)


ModelLike = str | Path | HasRun | Artifact | ExportedNetwork | None
