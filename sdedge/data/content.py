"""Digests of file contents, remembered: an unchanged file is read once.

    <data_root>/content/<name>-<digest of the folder>.json

holds size, times of change and digest of each file. It is a cache: where it is missing, damaged or
cannot be written, files are read again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from sdedge.data.scan import File
from sdedge.errors import RunError
from sdedge.escape import printable
from sdedge.files import write_atomic
from sdedge.resources import usable_cpus

__all__ = ["UNREADABLE", "file_digests"]

UNREADABLE = ""  # the digest of a file that cannot be read
_CHUNK = 256
_DIGITS = 16  # 64 bits: two of a million images collide once in 10^7 sets
_Known = dict[str, tuple[int, int, int, str]]


def file_digests(files: Sequence[File], index: Path) -> list[str]:
    """The digest of the content of each file; `index` is where they are remembered."""
    known = _read(index)
    states = [(file.size, *file.changed_ns) for file in files]
    keys = [printable(file.path) for file in files]
    digests: list[str | None] = [
        entry[3] if (entry := known.get(key)) and entry[:3] == state else None
        for key, state in zip(keys, states, strict=True)
    ]
    missing = [row for row, digest in enumerate(digests) if digest is None]
    for row, digest in zip(missing, _hashed([files[row].path for row in missing]), strict=True):
        digests[row] = digest
    complete = [digest or UNREADABLE for digest in digests]
    if missing or len(known) != len(files):
        entries = {
            key: (*state, digest)
            for key, state, digest in zip(keys, states, complete, strict=True)
            if digest != UNREADABLE
        }
        with suppress(RunError):  # the next call reads the files again
            write_atomic(index, msgspec.json.encode(entries))
    return complete


def _read(index: Path) -> _Known:
    try:
        return msgspec.json.decode(index.read_bytes(), type=_Known)
    except (OSError, msgspec.DecodeError):
        return {}


def _hashed(paths: list[str]) -> Iterable[str]:
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(usable_cpus()) as pool:  # hashing releases the interpreter lock
        for part in pool.map(lambda chunk: [_digest(path) for path in chunk], chunks):
            yield from part


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    except OSError:  # decoding will count and name it
        return UNREADABLE
