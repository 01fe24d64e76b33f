"""What commands say: tables for people, one JSON object for programs, errors on one line."""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sdedge.errors import InterruptedRunError, SdedgeError
from sdedge.escape import printable, quoted
from sdedge.operations import get_operation
from sdedge.paths import checked_path
from sdedge.schema import encode_json
from sdedge.version import __version__

P = ParamSpec("P")
_BUG = (
    f"This is a bug in sdedge {__version__}: please report it with the lines above and the command."
)
# How torch says it, in exceptions of its own: on the CPU, then on a GPU. Last, how the loader does,
# where torch itself does not fit.
_NO_MEMORY = ("can't allocate memory", "out of memory", "failed to map segment")


def console(*, json_output: bool = False) -> Console:
    """Where text for people goes: stderr when stdout is for the one JSON object."""
    return Console(stderr=json_output, highlight=False, soft_wrap=True, emoji=False)


def shown(text: object) -> str:
    """Text from outside for `Console.print`: nothing in it is markup or obeyed by a terminal."""
    return escape(printable(str(text)))


def print_json(value: object) -> None:
    """The one JSON object on stdout."""
    sys.stdout.write(encode_json(value, source="the result") + "\n")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table for people; numbers to the right, and every cell is text, not markup."""
    built = Table(title=shown(title), title_justify="left", title_style="bold")
    listed = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in listed)
        built.add_column(
            shown(column),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=index == 0,
        )
    for row in listed:
        built.add_row(*(Text(printable(str(cell))) for cell in row))
    return built


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn sdedge's errors into a message and exit code 1, an interruption into 130.

    So are errors of the machine and its files. Any other exception is a bug and keeps its
    traceback; the environment variable SDEDGE_DEBUG shows it for those of the machine, too.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            for name, value in kwargs.items():
                if isinstance(value, Path):
                    kwargs[name] = checked_path(value)
            command(*args, **kwargs)
        except InterruptedRunError as stop:
            complain(str(stop), "yellow")
            raise typer.Exit(130) from None
        except SdedgeError as error:
            complain(f"Error: {error}", "red")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            complain("interrupted", "yellow")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise  # the reader has gone, so there is no one to tell
        except Exception as error:
            reason = _outside(error)
            if reason is None or "SDEDGE_DEBUG" in os.environ:
                error.add_note(_BUG)
                raise
            complain(f"Error: {reason}", "red")
            raise typer.Exit(1) from None

    return run


def _outside(error: Exception) -> str | None:
    """What an exception says that comes from the machine or its files; None for one of sdedge's."""
    if isinstance(error, OSError):
        said = error.strerror or str(error)
        if error.filename is None:
            return (
                f"{said}, where the output or a temporary file is written"
                if error.errno == errno.ENOSPC
                else said
            )
        return f"{quoted(os.fsdecode(error.filename))}: {said}"
    if isinstance(error, UnicodeError):
        return f"text is not in the encoding that it should be in: {error}"
    if isinstance(error, RecursionError):
        return "what was read is nested too deeply"
    if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        return f"memory ran out: {str(error) or 'nothing is known about where'}"
    return None


def complain(message: str, style: str) -> None:
    """Say it on stderr. A message may quote anything, so all but its line breaks is escaped."""
    text = "\n".join(map(printable, message.split("\n")))
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text, style=style))


def architecture_lines(genotype: Mapping[str, Any]) -> list[str]:
    """The JSON form of a genotype as text: its kind and its operations, a line each cell."""
    if "arch" in genotype:
        return [f"cell       {genotype['arch']}"]
    cells = {"normal": "normal", "reduce": "reduction"}
    return [f"{name:9}  {cell_text(genotype[key])}" for key, name in cells.items()]


def cell_text(edges: Iterable[Any]) -> str:
    """The operations of a cell on one line, two to a node, each with its source.

    Sources are named as in the drawings: k-2 and k-1 are the two cells before, then nodes from 0.
    """
    names = [
        f"{get_operation(operation).short}({source - 2 if source > 1 else f'k{source - 2}'})"
        for operation, source in edges
    ]
    pairs = zip(names[::2], names[1::2], strict=True)
    return "  ".join("+".join(pair) for pair in pairs)
