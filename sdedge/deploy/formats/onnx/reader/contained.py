"""Native code on files from outside, in a process whose crash or endless loop ends it alone.

The process is started at the first file and serves the next ones, too; see `native.py`.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sdedge.deploy.formats.onnx.reader import native
from sdedge.deploy.formats.onnx.reader.native import NativeError

MEMORY_BYTES = 4 * 2**30  # of the process, for any file
SECONDS = 60.0  # for one request
_SCRIPT = Path(native.__file__)


def run(task: str, *blobs: bytes) -> bytes:
    """What `native.TASKS[task]` makes of `blobs`; NativeError where it refuses or dies."""
    global _worker
    if _worker is None or not _worker.alive:
        _worker = _Worker()
    return _worker.ask(task, blobs)


class _Worker:
    def __init__(self) -> None:
        # -P keeps the modules beside the script from hiding installed packages.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), str(MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin
        self._answers = self._process.stdout.fileno()
        self._owner = os.getpid()
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        """Whether this process can ask it; a fork cannot share its pipes."""
        return self._process.poll() is None and self._owner == os.getpid()

    def ask(self, task: str, blobs: tuple[bytes, ...]) -> bytes:
        """Send a request and wait for its answer; the process ends where that goes wrong."""
        end = time.monotonic() + SECONDS
        try:
            header, result = self._exchange(task, blobs, end)
        except (_DiedError, BrokenPipeError, json.JSONDecodeError) as error:
            raise NativeError(self._death(error)) from error
        except BaseException:  # Ctrl-C as well: its answer would be taken for the next one's
            self.close()
            raise
        if "error" in header:
            raise NativeError(header["error"])
        return result

    def _exchange(
        self, task: str, blobs: tuple[bytes, ...], end: float
    ) -> tuple[dict[str, Any], bytes]:
        request = {"task": task, "sizes": [len(blob) for blob in blobs]}
        self._requests.write(json.dumps(request, allow_nan=False).encode() + b"\n")
        for blob in blobs:
            self._requests.write(blob)
        self._requests.flush()
        received = b""
        while b"\n" not in received:
            received += self._read(end)
        line, _, rest = received.partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        parts, missing = [rest], header.get("size", 0) - len(rest)
        while missing > 0:
            parts.append(self._read(end))
            missing -= len(parts[-1])
        return header, b"".join(parts)

    def _read(self, end: float) -> bytes:
        ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise NativeError(f"it keeps the runtime busy for more than {SECONDS:g} s")
        data = os.read(self._answers, 2**20)
        if not data:
            raise _DiedError
        return data

    def _death(self, error: Exception) -> str:
        """How the process ended, once it has."""
        if isinstance(error, json.JSONDecodeError):
            self.close()
            return "the runtime died on it: no answer of its own"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self.close()
        code = self._process.returncode
        return "the runtime died on it " + (
            f"by signal {-code}" if code < 0 else f"with exit code {code}"
        )

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            atexit.unregister(self.close)


class _DiedError(Exception):
    """The process ended without an answer."""


_worker: _Worker | None = None
