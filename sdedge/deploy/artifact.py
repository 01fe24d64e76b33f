"""One exported file, from the export through card, verdict and bench to the bundle.

Its graph is read once and its memory is planned once, however many devices it is held against.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx import NAME as ONNX
from sdedge.deploy.formats.onnx.metadata import Metadata, read_metadata
from sdedge.deploy.formats.onnx.reader.classifier import read_file
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import Graph, Precision
from sdedge.deploy.memory.plan import MemoryPlan, plan_memory
from sdedge.errors import ExportError
from sdedge.paths import checked_path
from sdedge.run import RunDir


class Report(Protocol):
    """What the checks of a file found."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A network in one format and precision.

    `graph` and `memory` are of the network that the file holds. `companions` are the further files
    of a format that has several, such as a header.
    """

    format: str  # its name
    precision: Precision
    path: Path
    data: bytes = field(repr=False)
    graph: Graph = field(repr=False)
    memory: MemoryPlan = field(repr=False)
    companions: Mapping[Path, bytes] = field(default_factory=dict, repr=False)
    report: Report | None = None

    @classmethod
    def open(cls, path: str | Path, image: Sequence[int] | None = None) -> "Artifact":
        """Read an ONNX file of any tool; see `read_graph` for `image`, and for what it raises."""
        path = checked_path(path, error=ExportError)
        data = read_file(path)
        graph = read_graph(data, image, origin=path)
        return cls(
            format=ONNX,
            precision=graph.precision,
            path=path,
            data=data,
            graph=graph,
            memory=plan_memory(graph),
        )

    @classmethod
    def of_run(cls, run: RunDir, image: Sequence[int] | None = None) -> "tuple[Artifact, ...]":
        """The ONNX files of a run, fp32 first, opened with `image`; RunError without an export."""
        files: dict[Precision, Path] = {
            "fp32": run.require(run.onnx, "export"),
            "int8": run.onnx_int8,
        }
        return tuple(
            replace(cls.open(file, image), precision=precision)
            for precision, file in files.items()
            if file.exists()
        )

    @classmethod
    def create(
        cls,
        form: Format,
        precision: Precision,
        content: Sequence[bytes],
        run: RunDir,
        *,
        like: "Artifact | None" = None,
    ) -> "Artifact":
        """A model just made: `content` for each of a format's files, which are to lie in `run`.

        `like` is the same network in ONNX; None where this is it.
        """
        data, *rest = content
        path, *others = (run.path / name for name in form.file_names(precision))
        graph = read_graph(data) if like is None else like.graph
        return cls(
            format=form.name,
            precision=precision,
            path=path,
            data=data,
            graph=graph,
            memory=plan_memory(graph) if like is None else like.memory,
            companions=dict(zip(others, rest, strict=True)),
        )

    @property
    def files(self) -> dict[Path, bytes]:
        """The content of each file."""
        return {self.path: self.data, **self.companions}

    def metadata(self) -> Metadata:
        """What an ONNX file of sdedge says of itself; ExportError for another tool's."""
        return read_metadata(self.path, self.data)
