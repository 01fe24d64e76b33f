"""What an export knows of a file format."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.ir.model import Model
from sdedge.errors import ConfigError, ExportError, SdedgeError
from sdedge.escape import short
from sdedge.run import model_name

# Class scores (N, classes) of images as a model takes them, float32 (N, 3, S, S).
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
# A first part such as "int8" would take the names of another format's quantised files.
_SUFFIX = re.compile(rf"(?!(?:{'|'.join(PRECISIONS)})\.)[A-Za-z0-9]+(\.[A-Za-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format that a model can be exported to.

    A format of several files, such as a source and its header, has a suffix and a content for
    each; the first file stands for the model. `load` is None where this machine has no
    interpreter: such a file is written without a check of its scores. Raises ConfigError at
    construction for suffixes that name no files, and for precisions that there are not.
    """

    name: str  # as --format takes it
    title: str  # for people
    suffixes: tuple[str, ...]
    """Of its files: "onnx" for model.onnx and model.int8.onnx; letters and digits, and dots between
    them, as in "onnx.gz"."""
    write: Callable[[Model], tuple[bytes, ...]]  # the content of each file
    load: Callable[[bytes], Run] | None = None  # ExportError for what the interpreter refuses
    precisions: tuple[Precision, ...] = PRECISIONS
    operators: frozenset[str] | None = None  # that it has a form of; None: of all

    def __post_init__(self) -> None:
        sound = _are_distinct(self.suffixes) and all(map(_SUFFIX.fullmatch, self.suffixes))
        if not sound:
            raise ConfigError(
                f"format {short(self.name)} has the suffixes {short(self.suffixes)}; give a tuple "
                'of distinct ones of letters and digits, such as ("tflite",)'
            )
        if not _are_distinct(self.precisions) or not {*self.precisions} <= {*PRECISIONS}:
            raise ConfigError(
                f"format {short(self.name)} has the precisions {short(self.precisions)}; give a "
                f"tuple of one or more of {', '.join(PRECISIONS)}"
            )

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
        with self._named("writes no file"):
            contents = self.write(model)
        if not isinstance(contents, tuple) or not all(isinstance(c, bytes) for c in contents):
            raise ExportError(
                f"format {self.name!r} wrote {short(contents)}; `write` gives a tuple of bytes, "
                "one for each suffix"
            )
        if len(contents) != len(self.suffixes):
            raise ExportError(
                f"format {self.name!r} wrote {len(contents)} files, and has suffixes for "
                f"{len(self.suffixes)}; give it one for each"
            )
        return contents

    def run(self, content: tuple[bytes, ...]) -> Run | None:
        """What computes the class scores of a written model; None without an interpreter.

        Raises ExportError, as the function that it gives does, for whatever the interpreter raises.
        """
        if self.load is None:
            return None
        with self._named("cannot load its file"):
            loaded = self.load(content[0])

        def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
            with self._named("cannot run its file"):
                return loaded(images)

        return run

    @contextmanager
    def _named(self, problem: str) -> Iterator[None]:
        """Turn an exception of the format's own functions into an ExportError that names it."""
        try:
            yield
        except SdedgeError:
            raise
        except Exception as error:
            raise ExportError(
                f"format {self.name!r} {problem}: {type(error).__name__}: {short(str(error))}"
            ) from error


def _are_distinct(values: object) -> bool:
    """Whether `values` is a tuple of one or more strings, no two of them equal."""
    return (
        isinstance(values, tuple)
        and len(values) > 0
        and all(isinstance(value, str) for value in values)
        and len(set(values)) == len(values)
    )
