"""Feeds mutated inputs to a reader, in a process of its own that may hang, die or fill the memory.

A reader may read an input or refuse it with the errors that it is meant to raise. Everything else
is a failure: another exception, no answer in time, too much memory, the death of the process.
"""

import multiprocessing
import os
import re
import resource
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.mutations import mutated

__all__ = ["TARGETS", "Failure", "Report", "Target", "fuzz", "mutation"]

TARGETS = {  # the module of each
    "cells": "fuzzing.cells",
    "checkpoints": "fuzzing.checkpoints",
    "csv": "fuzzing.tables",
    "images": "fuzzing.images",
    "json": "fuzzing.records",
    "onnx": "fuzzing.onnx_models",
}

_POLL_S = 0.2
_GUARD_BYTES = 2**30  # beyond the limit: where the system refuses, so that the machine survives


@dataclass(frozen=True)
class Target:
    """What is fuzzed."""

    originals: tuple[bytes, ...]  # sound inputs
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]  # what it raises for an input that it cannot take
    change: Callable[[Sequence[bytes], np.random.Generator], bytes] = mutated


@dataclass(frozen=True)
class Failure:
    """One input that was neither read nor refused."""

    number: int  # of the mutation
    kind: str  # "exception", "hang", "memory" or "death"
    detail: str


@dataclass
class Report:
    """What became of the inputs."""

    read: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)


def mutation(target: Target, seed: int, number: int) -> bytes:
    """The input of that number; it depends on nothing else."""
    return target.change(target.originals, np.random.default_rng([seed, number]))


def fuzz(
    module: str,
    mutations: int,
    seed: int = 0,
    *,
    seconds: float = 30,
    memory_bytes: int = 2**30,
    progress: Callable[[int], None] = lambda number: None,
) -> Report:
    """Try that many mutations of the originals of the target in `module`.

    An input fails that takes longer than `seconds`, or `memory_bytes` more than the process had.
    """
    report, start = Report(), 0
    while start < mutations:
        worker = _Worker(module, seed, range(start, mutations), memory_bytes)
        ended = worker.watch(report, seconds, progress)
        start = mutations if ended is None else ended + 1
    return report


class _Worker:
    """A process that works through a range of mutations, and how far it has come."""

    def __init__(self, module: str, seed: int, numbers: range, memory_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")  # this process may have threads
        self._receiver, sender = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_work, args=(sender, module, seed, numbers, memory_bytes), daemon=True
        )
        self._process.start()
        sender.close()

    def watch(self, report: Report, seconds: float, progress: Callable[[int], None]) -> int | None:
        """Collect results; the number of the mutation that ended the process, None at the end."""
        number, waited = -1, 0.0
        try:
            while True:
                if not self._receiver.poll(_POLL_S):
                    waited += _POLL_S
                    if number >= 0 and waited > seconds:
                        report.failures.append(Failure(number, "hang", f"over {seconds:g} s"))
                        return number
                    continue
                waited = 0.0
                message = self._receiver.recv()
                if message is None:
                    return None
                if isinstance(message, int):  # the next input, about to be read
                    number = message
                    progress(number)
                elif isinstance(message, Failure):
                    report.failures.append(message)
                else:
                    setattr(report, message, getattr(report, message) + 1)
        except EOFError:
            self._process.join()
            if number < 0:
                raise RuntimeError("the target could not be loaded; its error is above") from None
            detail = f"exit code {self._process.exitcode}"
            report.failures.append(Failure(number, "death", detail))
            return number
        finally:
            self._process.kill()
            self._process.join()
            self._receiver.close()


def _work(sender: Connection, module: str, seed: int, numbers: range, memory_bytes: int) -> None:
    warnings.simplefilter("ignore")  # readers of damaged files warn of the damage
    with tempfile.TemporaryDirectory() as folder:
        target: Target = import_module(module).target(Path(folder))
        target.read(target.originals[0])  # what is loaded on first use is not the input's
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries complain of every damage
        _guard_memory(memory_bytes)
        for number in numbers:
            sender.send(number)
            data = mutation(target, seed, number)
            sender.send(_outcome(target, number, data, memory_bytes))
    sender.send(None)


def _outcome(target: Target, number: int, data: bytes, memory_bytes: int) -> Any:
    _forget_peak()
    before = _status_bytes("VmRSS")
    outcome: Any = "read"
    try:
        target.read(data)
    except target.refusals:
        outcome = "refused"
    except MemoryError:
        return Failure(number, "memory", "MemoryError")
    except Exception as error:  # noqa: BLE001  # an escaped exception is what is looked for
        return Failure(number, "exception", _described(error))
    taken = _status_bytes("VmHWM") - before
    if taken > memory_bytes:
        return Failure(number, "memory", f"{taken / 2**20:,.0f} MiB")
    return outcome


def _described(error: Exception) -> str:
    """The exception and the innermost line of sdedge that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "fuzzing" not in Path(frame.filename).parts]
    at = own[-1] if own else frames[-1]
    for frame in own:
        if {"sdedge", "cli"} & set(Path(frame.filename).parts[-4:-1]):
            at = frame
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {text}"


def _guard_memory(memory_bytes: int) -> None:
    limit = _status_bytes("VmSize") + memory_bytes + _GUARD_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _status_bytes(name: str) -> int:
    """A size of this process: VmRSS now, VmHWM at its peak, VmSize of addresses."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {name}; the fuzzer needs Linux")
    return int(found.group(1)) * 1024


def _forget_peak() -> None:
    """Set VmHWM back to what is used now (proc(5), clear_refs)."""
    descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    try:
        os.write(descriptor, b"5")
    finally:
        os.close(descriptor)
