"""Kills searches and trainings at random moments, and resumes each as a user would.

    python benchmarks/kills.py [--kills 100] [--seed 0] [--json]

A run is killed (SIGKILL) at a random moment of its first start or of one of its restarts, which
are with --resume where the run has settings, until one start succeeds. What comes out must be
equal, to the last byte of its tensors, to a run that nothing disturbed. Exit code 1 otherwise.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from sdedge.files import is_temporary
from sdedge.loop import MEASURED
from sdedge.run import RunDir

SHARED = {
    "channels": 4,
    "epochs": 2,
    "batch-size": 8,
    "epoch-images": 24,
    "image-size": 8,
    "checkpoint-seconds": 0,
}
COMMANDS = {
    "search": {"cells": 3, "valid-images": 8, "patch-size": 4, **SHARED},
    "train": {"genotype": "DARTS_V1", "cells": 2, "drop-path": 0.2, **SHARED},
}
# A process that dies at one of its system calls (0: at none), or reports how many it made.
PROGRAM = """
import atexit, os, signal, sys
deadly, made = int(sys.argv.pop(1)), 0
atexit.register(lambda: print(made, file=sys.stderr))
def counted(real):
    def call(*arguments, **keywords):
        global made
        made += 1
        if made == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    return call
for name in ("open", "write", "fsync", "close", "replace", "unlink", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
from sdedge.cli.main import main
main()
"""


@dataclass
class Report:
    """What became of the runs."""

    kills: int = 0
    runs: int = 0
    equal: int = 0
    failed_restarts: list[str] = field(default_factory=list)  # what they said
    temporaries: int = 0  # left by a kill
    temporaries_at_the_end: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    rng, report, started = random.Random(options.seed), Report(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        straight, calls = {}, {}
        for phase in COMMANDS:
            straight[phase], calls[phase] = _undisturbed(folder, phase)
        while report.kills < options.kills:
            for phase in COMMANDS:
                path = folder / f"{phase}-{report.runs}"
                _killed_until_done(folder, phase, path, calls[phase], rng, report)
                report.runs += 1
                report.equal += outcome(path, phase) == straight[phase]
                report.temporaries_at_the_end += _temporaries(path)
    seconds = time.monotonic() - started
    if options.json:
        print(json.dumps({"seconds": seconds, **asdict(report)}, allow_nan=False))
    else:
        print(
            f"{report.kills} kills in {report.runs} runs, {seconds:.0f} s: {report.equal} runs "
            f"equal, {len(report.failed_restarts)} restarts failed, {report.temporaries} temporary "
            f"files left by kills, {report.temporaries_at_the_end} at the end"
        )
        for message in report.failed_restarts:
            print(f"  {message}")
    sound = report.equal == report.runs and not report.failed_restarts
    return 0 if sound and not report.temporaries_at_the_end else 1


def _undisturbed(folder: Path, phase: str) -> tuple[Any, int]:
    """The outcome, and the number of calls that may be the last."""
    path = folder / f"{phase}-straight"
    done = _start(folder, phase, path, deadly=0)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return outcome(path, phase), int(done.stderr.split()[-1])


def _killed_until_done(
    folder: Path, phase: str, path: Path, calls: int, rng: random.Random, report: Report
) -> None:
    """Start and kill a run once or twice, then let it end."""
    for start in range(rng.choice((2, 3))):
        last = start > 0 and rng.random() < 0.5
        done = _start(folder, phase, path, deadly=0 if last else rng.randint(1, calls))
        report.temporaries += _temporaries(path)
        if done.returncode == 0:
            return
        if done.returncode > 0:
            report.failed_restarts.append(f"{path.name}: {done.stderr.strip()}")
            break
        report.kills += 1
    done = _start(folder, phase, path, deadly=0)
    if done.returncode != 0:
        report.failed_restarts.append(f"{path.name}: {done.stderr.strip()}")


def _start(folder: Path, phase: str, path: Path, deadly: int) -> subprocess.CompletedProcess[str]:
    """A start as a user makes it: from scratch, or with --resume where the run has settings."""
    if (path / "config.json").exists():
        arguments = [phase, "--resume", "--run", str(path)]
    else:
        options = [f"--{name}={value}" for name, value in COMMANDS[phase].items()]
        data_root = f"--data-root={folder / 'data'}"
        arguments = [phase, "--preset=demo", *options, data_root, "--run", str(path)]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(deadly), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _temporaries(path: Path) -> int:
    return sum(is_temporary(file.name) for file in path.iterdir()) if path.exists() else 0


def outcome(path: Path, phase: str) -> Any:
    """What a run came to, less what depends on the clock; None for one without a result."""
    run = RunDir(path)
    if not run.genotype.exists() or not run.checkpoint(phase).exists():
        return None
    tensors = load_file(run.checkpoint(phase))
    weights = run.weights.read_bytes() if run.weights.exists() else b""
    records = [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics(phase)
    ]
    return (
        sorted(file.name for file in path.iterdir()),
        run.genotype.read_bytes(),
        {name: tensor.tobytes() for name, tensor in tensors.items()},
        weights,
        records,
    )


if __name__ == "__main__":
    sys.exit(main())
