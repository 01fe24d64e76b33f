"""Files that are whole or not there at all.

A file is written under a temporary name in its own folder, synced, and renamed. Temporary names
end in `.sdedge-part`, so that what a killed process left behind can be recognised.
"""

import errno
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sdedge.errors import RunError
from sdedge.escape import printable
from sdedge.schema import encode_json

__all__ = [
    "append_line",
    "check_replaceable",
    "explain_write_errors",
    "is_temporary",
    "json_bytes",
    "remove_temporaries",
    "sync",
    "write_atomic",
    "write_json",
    "write_together",
]

_SUFFIX = ".sdedge-part"  # of temporary names, after the file's own and eight random characters
_UNCHANGED = "what was there is unchanged"


@contextmanager
def explain_write_errors(path: Path, state: str = _UNCHANGED) -> Iterator[None]:
    """Turn a failed write below `path` into a RunError that says what to do, and the `state`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "Free some space, or choose" if full else "Choose"
        raise RunError(
            f"cannot write {printable(str(path))}: {error.strerror or error}. "
            f"{advice} another folder with --run; {state}."
        ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that readers see the old file or the whole new one.

    A link stays, and the file that it leads to is written. Raises RunError when the folder cannot
    be written, the disk is full, or `path` is a folder, a device or a pipe.
    """
    check_replaceable(path)
    with explain_write_errors(path), ExitStack() as undo:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = Path(os.path.realpath(path))
        _stage(file, data, undo).replace(file)
        undo.pop_all()
    _sync_folder(file)


def check_replaceable(path: Path) -> None:
    """RunError where `path` is there and no file: a rename would replace a device."""
    with explain_write_errors(path):
        replaceable = path.is_file() or not path.exists()
    if not replaceable:
        what = "a folder" if path.is_dir() else "a device or a pipe"
        raise RunError(
            f"cannot write {printable(str(path))}: it is {what}. Give the name of a file; "
            f"{_UNCHANGED}."
        )


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; RunError for a number that is not finite."""
    write_atomic(path, json_bytes(value, path))


def json_bytes(value: object, path: Path) -> bytes:
    """What `write_json` writes."""
    text = encode_json(value, source=f"cannot write {printable(str(path))}", indent=2)
    return f"{text}\n".encode()


def write_together(files: Mapping[Path, bytes], *, outdated: Collection[Path] = ()) -> list[Path]:
    """Write files of one folder that belong together, and remove those that they make obsolete.

    The new files are on disk before the first old one goes: an error until then changes nothing.
    Then `outdated` goes, and the new files take their names, both in their order: where those that
    depend on others come first in `outdated`, and last in `files`, a kill in between leaves files
    that belong together. Gives the files that were removed.
    """
    first = next(iter(files))
    removed = []
    for path in (*outdated, *files):
        check_replaceable(path)
    with ExitStack() as undo:
        with explain_write_errors(first):
            staged = {path: _stage(path, data, undo) for path, data in files.items()}
        for path in outdated:
            if path.exists():
                with explain_write_errors(path, "some files there are gone; do it again"):
                    path.unlink()
                removed.append(path)
        for path, temporary in staged.items():
            with explain_write_errors(path, "some files there are gone; do it again"):
                temporary.replace(path)
        undo.pop_all()
    _sync_folder(first)
    return removed


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, on disk when this returns; RunError, and no line, when it fails."""
    with explain_write_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(descriptor).st_size
        try:
            with _closing(descriptor):
                _write_all(descriptor, line.encode() + b"\n")
                os.fsync(descriptor)
        except BaseException:  # Ctrl-C as well
            with suppress(OSError):  # else readers leave out the cut line
                os.truncate(path, size)
            raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    with _closing(descriptor):
        os.fsync(descriptor)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is temporary: a file that was not written to its end."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def remove_temporaries(folder: Path) -> None:
    """Delete what killed processes left half-written; the caller holds the lock of `folder`."""
    with explain_write_errors(folder):
        for path in folder.iterdir():
            if is_temporary(path.name):
                path.unlink(missing_ok=True)


def _stage(path: Path, data: bytes, undo: ExitStack) -> Path:
    """Put `data` on disk in the folder of `path` under a temporary name that `undo` removes."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    undo.callback(_remove, temporary)
    with _closing(descriptor):
        _write_all(descriptor, data)
        os.fsync(descriptor)
    return temporary


def _remove(path: Path) -> None:
    with suppress(OSError):  # the error that led here says more
        path.unlink()


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the error that led here says more
            os.close(descriptor)
        raise
    os.close(descriptor)  # some network file systems report a full disk here


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(path: Path) -> None:
    """Wait until the name of the file at `path` is on disk."""
    with explain_write_errors(path, "the file is there, but may be lost when the power fails"):
        sync(path.parent)
