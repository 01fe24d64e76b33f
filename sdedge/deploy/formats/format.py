"""What an export knows of a file format."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.ir.model import Model
from sdedge.errors import ExportError
from sdedge.run import model_name

# Class scores (N, classes) of images as a model takes them, float32 (N, 3, S, S).
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format that a model can be exported to.

    A format of several files, such as a source and its header, has a suffix and a content for
    each; the first file stands for the model. `load` is None where this machine has no
    interpreter: such a file is written without a check of its scores.
    """

    name: str  # as --format takes it
    title: str  # for people
    suffixes: tuple[str, ...]  # of its files: "onnx" for model.onnx and model.int8.onnx
    write: Callable[[Model], tuple[bytes, ...]]  # the content of each file
    load: Callable[[bytes], Run] | None = None  # ExportError for what the interpreter refuses
    precisions: tuple[Precision, ...] = PRECISIONS
    operators: frozenset[str] | None = None  # that it has a form of; None: of all

    def file_names(self, precision: Precision) -> tuple[str, ...]:
        """The names of its files in a run directory."""
        return tuple(model_name(suffix, precision) for suffix in self.suffixes)

    def content(self, model: Model) -> tuple[bytes, ...]:
        """The content of each file; ExportError for what the format has no form of."""
        if model.precision not in self.precisions:
            raise ExportError(
                f"{self.title} files are of {' or '.join(self.precisions)}, and this network is "
                f"{model.precision}; export it in another format"
            )
        for node in model.program.nodes:
            if self.operators is not None and node.op_type not in self.operators:
                raise ExportError(
                    f"{node.op_type} at {node.output} has no form in {self.title}; export the "
                    "network in another format"
                )
        contents = self.write(model)
        if len(contents) != len(self.suffixes):
            raise ExportError(
                f"format {self.name!r} wrote {len(contents)} files, and has suffixes for "
                f"{len(self.suffixes)}; give it one for each"
            )
        return contents
