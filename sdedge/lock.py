"""One process at a time writes into a folder.

The lock is the kernel's (flock), on a file in the folder, so it ends with the process that holds
it, however that dies. The file says who holds the lock, and is removed with it; a file that a
killed process left is taken over. Commands that only read take no lock.

On a network file system the lock holds between machines where the server knows locks (NFS since
version 4, or with lockd). Where there are no locks at all, the work continues with a warning.
"""

import errno
import fcntl
import os
import shlex
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from sdedge.errors import RunError
from sdedge.escape import printable
from sdedge.files import explain_write_errors, remove_temporaries
from sdedge.schema import decode_json, encode_json

__all__ = ["LOCK_FILE", "lock_folder", "lock_if_there"]

LOCK_FILE = ".sdedge.lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_MAX_COMMAND = 200  # characters

_held: set[tuple[str, int]] = set()  # folders, each with the thread that holds it


@dataclass(frozen=True)
class Holder:
    """The process that writes into a folder."""

    pid: int
    host: str
    command: str
    since: str  # local time

    @classmethod
    def this_process(cls) -> Self:
        """What other processes are told about this one."""
        program, *arguments = sys.argv
        command = printable(shlex.join([Path(program).name, *arguments]))
        if len(command) > _MAX_COMMAND:
            command = command[:_MAX_COMMAND] + "..."
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        return cls(os.getpid(), socket.gethostname(), command, since)

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {printable(self.host)}"
        return (
            f"process {self.pid}{where} ({printable(self.command)}) since {printable(self.since)}"
        )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, and clear what killed processes left half-written in it.

    A thread that holds it may take it again. Raises RunError, naming the holder, where another
    process or thread has it, and where the folder cannot be written.
    """
    key = (os.path.realpath(folder), threading.get_ident())
    if key in _held:
        yield
        return
    descriptor = _acquire(folder)
    _held.add(key)
    try:
        remove_temporaries(folder)
        yield
    finally:
        _held.remove(key)
        _release(folder, descriptor)


def lock_if_there(folder: Path | None) -> AbstractContextManager[None]:
    """The lock of a folder, or none where the folder does not exist yet."""
    return lock_folder(folder) if folder is not None and folder.is_dir() else nullcontext()


def _acquire(folder: Path) -> int:
    """A descriptor that holds the lock."""
    file = folder / LOCK_FILE
    with explain_write_errors(folder):
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(descriptor, folder)
            except BaseException:
                os.close(descriptor)
                raise
            if _is_current(descriptor, file):
                break
            os.close(descriptor)  # released, and removed, after it was opened here
        try:
            os.ftruncate(descriptor, 0)
            holder = encode_json(asdict(Holder.this_process()), source=LOCK_FILE)
            os.write(descriptor, holder.encode())
        except BaseException:
            _release(folder, descriptor)
            raise
    return descriptor


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(_refusal(folder, os.pread(descriptor, 2**16, 0))) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        warnings.warn(
            f"the file system of {printable(str(folder))} has no locks ({error.strerror}): "
            "make sure that one command at a time writes there",
            RuntimeWarning,
            stacklevel=2,
        )


def _refusal(folder: Path, content: bytes) -> str:
    shown = printable(str(folder))
    try:
        holder = decode_json(content, Holder, source=LOCK_FILE)
    except RunError:  # the holder has not written its record yet
        return f"{shown} is in use by another process; wait until that ends, or choose another"
    here = holder.host == socket.gethostname()
    stop = f" or stop it (kill {holder.pid})," if here and holder.pid != os.getpid() else ""
    return (
        f"{shown} is in use by {holder}. Wait until that ends,{stop} or choose another folder "
        "with --run"
    )


def _is_current(descriptor: int, file: Path) -> bool:
    """Whether an open file is the one that the name stands for."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _release(folder: Path, descriptor: int) -> None:
    with suppress(OSError):  # the next one takes it over
        (folder / LOCK_FILE).unlink()
    with suppress(OSError):
        os.close(descriptor)
