"""The process at its edges: what a terminal can show, and how a command ends that is not to go on.

The console script and `python -m sdedge` go through here; other programs that call the commands
keep their own streams and signals.
"""

import codecs
import os
import signal
import sys
from collections.abc import Callable
from io import StringIO, TextIOWrapper
from types import FrameType

from sdedge.cli.output import complain

_MIN_COLUMNS = 20
# What text of sdedge's own is in an encoding that lacks it, cp1252 or ASCII.
_PLAIN = {"–": "-", "—": "-", "…": "...", "±": "+-", "×": "x", "→": "->", "≤": "<=", "≥": ">="}


class _Stopped(SystemExit):
    """Raised by a signal where the work is, so that what is half done is cleared away."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def run(app: Callable[[], object]) -> None:
    """Call `app`, which ends in SystemExit, and see its output out.

    A signal that ends it and output that cannot be written are reported in one line, a reader that
    has gone away (`| head`) is none.
    """
    _fit_terminal()
    _catch_signals()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except _Stopped as stop:
        _last_words(f"stopped by {stop.name}", "yellow")
        code = stop.code
    except BrokenPipeError:
        code = 1
    except OSError as error:
        _last_words(f"Error: cannot write the output: {error.strerror}", "red")
        code = 1
    _discard(sys.stdout)
    sys.exit(code)


def _fit_terminal() -> None:
    """Every character can be written, with a stand-in where need be, and lines have a width."""
    columns = os.environ.get("COLUMNS", "")
    if not columns.isdecimal() or int(columns) < _MIN_COLUMNS:
        os.environ.pop("COLUMNS", None)  # rich would print nothing, or a letter a line
    codecs.register_error("sdedge.plain", _plain)
    sys.stdout = sys.stdout or StringIO()  # None where a shell closed it, `>&-`
    sys.stderr = sys.stderr or StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="sdedge.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    escaped = (c.encode("ascii", "backslashreplace").decode() for c in missing)
    return "".join(map(_PLAIN.get, missing, escaped)), error.end


def _catch_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
            signal.signal(number, stop)


def _last_words(message: str, style: str) -> None:
    try:
        complain(message, style)
    except OSError:  # stderr is as full, or as gone
        _discard(sys.stderr)


def _discard(stream: object) -> None:
    """What is left in the buffer cannot be written; Python would try again when it ends."""
    if isinstance(stream, TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
