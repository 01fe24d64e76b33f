"""The run directory: one folder that holds everything one chain of commands made.

    config.json         the settings of each phase ("search", "train", ...)
    environment.json    commit, versions, device, threads, and which kernels ran, by phase
    metrics.jsonl       one JSON object a line, each with its "phase"
    search.checkpoint.safetensors, train.checkpoint.safetensors
    search.images.json, train.images.json  which images each phase saw
    genotype.json  cell.svg  cell.png
    benchmark.json  benchmark.svg  benchmark.png
    weights.safetensors
    model.onnx  model.int8.onnx  export.json  model-card.md
    bench.json  bench.int8.json  targets.json
    budget.json  fit.json
    bundle.zip

A comparison is a folder with comparison.json and its pictures; in it is a run directory, with
trial.json, for each method and seed.

Every write is atomic (`sdedge.files`), and one process at a time writes (`sdedge.lock`). No torch
here.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sdedge.bounds import Natural
from sdedge.errors import RunError, SdedgeError
from sdedge.files import (
    append_line,
    explain_write_errors,
    is_temporary,
    write_atomic,
    write_json,
)
from sdedge.lock import LOCK_FILE, lock_folder
from sdedge.schema import decode_json, encode_json, read_bytes, read_record, to_record

RUNS_ROOT = Path("runs")
GENOTYPE = "genotype.json"
_CONFIG = "config.json"
_ENVIRONMENT = "environment.json"
_BUDGET = "budget.json"
# The first files of a run: a folder with one of them is a run, or was going to be.
_OWN = {_CONFIG, _ENVIRONMENT, GENOTYPE, _BUDGET}


def read_json(path: Path, *, error: type[SdedgeError] = RunError) -> dict[str, Any]:
    """Read a JSON object; `error` when it is missing, unreadable or something else."""
    return read_record(path, dict[str, Any], error=error)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every line of metrics.jsonl has; a phase adds its own (see `Phase.record_type`)."""

    phase: str
    epoch: Natural
    peak_memory_bytes: Natural = 0


@dataclass(frozen=True)
class RunDir:
    """The paths of a run directory, and its small JSON files."""

    path: Path

    @classmethod
    def create(cls, name: str, path: Path | None = None, root: Path = RUNS_ROOT) -> "RunDir":
        """Make a run directory: `path` if given, else a new dated one below `root`.

        Raises RunError when `path` cannot be made, or holds files but no run.
        """
        if path is None:
            return cls(_make_new(root / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"))
        refuse_foreign(path)
        with explain_write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path | None = None, root: Path = RUNS_ROOT) -> "RunDir":
        """Open `path`, or the newest run below `root`; RunError when there is none."""
        if path is not None:
            if not (path / _CONFIG).is_file():
                raise RunError(
                    f"{path} is not a run directory (it has no {_CONFIG})"
                    + (
                        "; if its first command was killed as it began, give that again, "
                        "without --resume"
                        if path.is_dir() and _is_ours(path)
                        else ""
                    )
                )
            return cls(path)
        configs = sorted(root.glob(f"*/{_CONFIG}"), key=lambda file: file.stat().st_mtime)
        if not configs:
            raise RunError(
                f"no run directory below {root.resolve()}; start one with `sdedge search`, "
                "or name one with --run"
            )
        return cls(configs[-1].parent)

    def lock(self) -> AbstractContextManager[None]:
        """Hold this directory to write into it; RunError, naming the holder, if another does."""
        return lock_folder(self.path)

    @property
    def config(self) -> Path:
        """Settings by phase."""
        return self.path / _CONFIG

    @property
    def environment(self) -> Path:
        """Where each phase ran, and with which versions and kernels."""
        return self.path / _ENVIRONMENT

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def checkpoint(self, phase: str) -> Path:
        """State from which `phase` resumes."""
        return self.path / f"{phase}.checkpoint.safetensors"

    def images(self, phase: str) -> Path:
        """Which images `phase` saw."""
        return self.path / f"{phase}.images.json"

    @property
    def genotype(self) -> Path:
        """The derived cell."""
        return self.path / GENOTYPE

    def cell_drawing(self, suffix: str) -> Path:
        """A picture of the derived cell: "svg" or "png"."""
        return self.path / f"cell.{suffix}"

    @property
    def benchmark(self) -> Path:
        """What a benchmark's table says of the derived cell."""
        return self.path / "benchmark.json"

    def benchmark_drawing(self, suffix: str) -> Path:
        """A picture of the cells of all epochs in that table: "svg" or "png"."""
        return self.path / f"benchmark.{suffix}"

    @property
    def trial(self) -> Path:
        """The result of a trial of a comparison, once it is complete."""
        return self.path / "trial.json"

    @property
    def weights(self) -> Path:
        """The trained network, with its description in the header."""
        return self.path / "weights.safetensors"

    def model(self, suffix: str, precision: str = "fp32") -> Path:
        """The exported network in a format, by the suffix of its files."""
        return self.path / model_name(suffix, precision)

    @property
    def onnx(self) -> Path:
        """The exported network in ONNX."""
        return self.model("onnx")

    @property
    def onnx_int8(self) -> Path:
        """The exported network in ONNX, quantised."""
        return self.model("onnx", "int8")

    @property
    def export_report(self) -> Path:
        """What the checks of the exported files found."""
        return self.path / "export.json"

    @property
    def card(self) -> Path:
        """The model card of the exported files."""
        return self.path / "model-card.md"

    def bench(self, precision: str = "fp32") -> Path:
        """The latency measured of an exported file."""
        return self.path / ("bench.json" if precision == "fp32" else f"bench.{precision}.json")

    @property
    def targets(self) -> Path:
        """The latency predicted for devices."""
        return self.path / "targets.json"

    @property
    def budget(self) -> Path:
        """The target and the limits that the run is made for."""
        return self.path / _BUDGET

    @property
    def fit(self) -> Path:
        """The verdict on the budget."""
        return self.path / "fit.json"

    @property
    def bundle(self) -> Path:
        """The files for a board in one archive."""
        return self.path / "bundle.zip"

    def require(self, file: Path, phase: str) -> Path:
        """`file`, which a phase makes; RunError when it has not yet."""
        if not file.exists():
            resume = " --resume" if phase in self.phases() else ""
            raise RunError(
                f"{file} is not there yet; make it with `sdedge {phase}{resume} --run {self.path}`"
            )
        return file

    def phases(self) -> dict[str, dict[str, Any]]:
        """The settings of all phases so far; empty in a new run directory."""
        if not self.config.exists():
            return {}
        return read_record(self.config, dict[str, dict[str, Any]])

    def settings(self, phase: str) -> dict[str, Any]:
        """The settings that `phase` ran with; RunError when it never did."""
        phases = self.phases()
        if phase not in phases:
            raise RunError(
                f"{self.path} holds no {phase} yet (it has: {', '.join(phases) or 'nothing'}); "
                f"start one with `sdedge {phase}`"
            )
        return phases[phase]

    def begin_phase(
        self, phase: str, settings: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        """Record a phase that starts from scratch; what an earlier one would resume from goes."""
        with explain_write_errors(self.checkpoint(phase)):
            self.checkpoint(phase).unlink(missing_ok=True)
        self.record_phase(phase, settings, environment)

    def record_phase(
        self, phase: str, settings: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        """Write the settings and the environment of `phase`, next to those of other phases."""
        environments = self.environment
        earlier = read_json(environments) if environments.exists() else {}
        write_json(environments, {**earlier, phase: dict(environment)})
        self.record_settings(phase, settings)

    def record_settings(self, phase: str, settings: Mapping[str, Any]) -> None:
        """Write the settings of `phase`, next to those of other phases."""
        write_json(self.config, {**self.phases(), phase: dict(settings)})

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the metrics, on disk when this returns."""
        append_line(self.metrics, encode_json(record, source=f"cannot write {self.metrics}"))

    def read_metrics(self, phase: str, kind: type[Record] = Record) -> list[dict[str, Any]]:
        """The records of `phase`, oldest first; a last line cut short by a crash is left out.

        Raises RunError for a line that is no `kind`.
        """
        records = [record for record in self._records() if record["phase"] == phase]
        for record in records:
            to_record(record, kind, source=f"{self.metrics} is damaged")
        return records

    def rewind_metrics(self, phase: str, keep: int) -> None:
        """Drop all but the first `keep` records of `phase`: the work after them is done again."""
        kept = []
        for record in self._records():
            if record["phase"] == phase:
                keep -= 1
                if keep < 0:
                    continue
            kept.append(encode_json(record, source=str(self.metrics)) + "\n")
        write_atomic(self.metrics, "".join(kept).encode())

    def _records(self) -> list[dict[str, Any]]:
        if not self.metrics.exists():
            return []
        source = f"{self.metrics} is damaged"
        lines = read_bytes(self.metrics).split(b"\n")[:-1]
        records = [decode_json(line, dict[str, Any], source=source) for line in lines]
        for record in records:
            to_record(record, Record, source=source)
        return records


def model_name(suffix: str, precision: str = "fp32") -> str:
    """The name of an exported file: "model.onnx", and "model.int8.onnx" quantised."""
    return f"model.{suffix}" if precision == "fp32" else f"model.{precision}.{suffix}"


def refuse_foreign(path: Path) -> None:
    """Raise RunError for a folder that holds files, but nothing of a run."""
    if path.is_dir() and not _is_ours(path):
        raise RunError(f"{path} holds other files; choose a new or an empty folder with --run")


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty, but for what a killed process leaves, or holds a run's files."""
    names = set(os.listdir(folder))
    return bool(_OWN & names) or all(name == LOCK_FILE or is_temporary(name) for name in names)


def _make_new(path: Path) -> Path:
    """Make a folder of this name, or of the first like it that does not exist yet."""
    candidate, number = path, 2
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                candidate.mkdir()
                return candidate
            except FileExistsError:
                candidate = path.with_name(f"{path.name}-{number}")
                number += 1
