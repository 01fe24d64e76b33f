"""Check the kernels and measure everything on a GPU within ten minutes, into one JSON.

    python benchmarks/gpu_suite.py [--out PATH] [--full [DATASET]]
    python benchmarks/gpu_suite.py --check-only   # also without a GPU; TRITON_INTERPRET=1: kernels

Values first: a kernel or a search step that is wrong ends the run before anything is timed. Then,
part by part: the search step plain, fused and by CUDA graphs; the 50 epochs of the paper's search
projected from it; the time from the start of a process to its first step; every kernel against
eager torch, torch.compile and a copy; the fused step over batches, channels and cells; a roofline;
and with --full the search itself. A part that no longer fits is skipped, and the report says so.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import search_step
import torch
from rich.console import Console
from stepper import Child, Setting, Stepper
from traffic import step_bytes

import kernels
from sdedge.cli.output import console, table
from sdedge.config import SearchConfig
from sdedge.data.catalog import load_dataset
from sdedge.device import make_deterministic
from sdedge.environment import describe_environment
from sdedge.errors import BenchError, SdedgeError
from sdedge.events import silent
from sdedge.files import write_json
from sdedge.nas.phase import SearchPhase
from sdedge.nas.runner import run_search
from sdedge.run import RunDir

LIMIT_SECONDS = 570.0  # of ten minutes; the rest is for imports and the last write
TINY = Setting("tiny", channels=4, cells=3, batch=4, image_size=16)
WARM_UP_STEPS, TIMED_STEPS = 3, 10
SCALING = {"batch": (32, 64, 128, 256), "channels": (8, 16, 32), "cells": (5, 8, 14)}
EPOCHS, SEARCH_IMAGES = 50, 25_000  # the paper's protocol on CIFAR


class Suite:
    """A report that grows part by part, on disk after each."""

    def __init__(
        self, out: Path, report: dict[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.report: dict[str, Any] = {**report, "skipped": {}, "seconds": {}}
        self._out = out
        self._clock = clock
        self._end = clock() + LIMIT_SECONDS

    def run(self, name: str, budget: float, part: Callable[[Callable[[], bool]], Any]) -> None:
        """Add what `part` gives, unless its budget of seconds exceeds what is left.

        It is handed a question to ask before each of its pieces: is the budget used up?
        """
        start = self._clock()
        if start + budget > self._end:
            left = max(0.0, self._end - start)
            self.skip(name, f"takes up to {budget:.0f} s, and {left:.0f} s are left")
            return
        print(f"{name} (up to {budget:.0f} s)", flush=True)
        self.report[name] = part(lambda: self._clock() >= start + budget)
        self.report["seconds"][name] = self._clock() - start
        self.save()

    def skip(self, name: str, reason: str) -> None:
        """Say why a part is missing."""
        self.report["skipped"][name] = reason
        print(f"skipped {name}: {reason}", flush=True)
        self.save()

    def save(self) -> None:
        """Write the report as it stands."""
        write_json(self._out, self.report)


def check(device: torch.device, *, interpreted: bool) -> dict[str, Any]:
    """The errors of the search step by setting; BenchError for it or a kernel that is wrong."""
    cuda = device.type == "cuda"
    if cuda or interpreted:
        for case in kernels.cases(device.type, small=not cuda):
            if problem := kernels.check(case):
                raise BenchError(f"WRONG {case.name}: {problem}; nothing was timed")
            print(f"right {case.name}", flush=True)
    else:
        print("kernels unchecked: that needs a CUDA GPU, or TRITON_INTERPRET=1 to interpret them")
    settings = search_step.SETTINGS.values() if cuda else (TINY,)
    errors = search_step.check(settings, device)
    for name, by_dtype in errors.items():
        for dtype, error in by_dtype.items():
            print(f"right search step, {name} in {dtype}: {search_step.error_text(error)}")
    return errors


def comparison(setting: Setting, device: torch.device) -> Callable[[object], dict[str, Any]]:
    """The part that measures one setting."""
    return lambda _: search_step.measure(setting, device, rounds=5)


def kernel_rows(copy: float, over: Callable[[], bool]) -> dict[str, Any]:
    """Every case of `kernels.py`, as far as the budget reaches."""
    rows, left_out = [], []
    for case in kernels.cases("cuda", small=False):
        if over():
            left_out.append(case.name)
        else:
            rows.append(kernels.measure(case, copy))
    return {"rows": rows, "left_out": left_out}


def steady_step(setting: Setting, device: torch.device) -> dict[str, Any]:
    """The fused step, the validation of a batch, and memory, in this process."""
    stepper = Stepper(setting, "fused", device)
    stepper.step(WARM_UP_STEPS)
    seconds = stepper.step(TIMED_STEPS)
    memory = stepper.memory()["peak_growth_bytes"]
    stepper.validation()
    validation = stepper.validation(TIMED_STEPS)
    return {
        **asdict(setting),
        "step_seconds": seconds,
        "validation_seconds": validation,
        "peak_growth_bytes": memory,
    }


def scaling(device: torch.device, over: Callable[[], bool]) -> dict[str, Any]:
    """The fused step with one size changed at a time from the paper's setting."""
    paper = asdict(search_step.SETTINGS["paper"])
    rows, left_out = [], []
    for size, values in SCALING.items():
        for value in values:
            setting = Setting(**{**paper, "name": f"{size} {value}", size: value})
            if over():
                left_out.append(setting.name)
                continue
            rows.append(steady_step(setting, device))
            torch.cuda.empty_cache()
    return {"rows": rows, "left_out": left_out}


def projection(device: torch.device) -> dict[str, Any]:
    """The whole search from steady steps: its training steps, and a pass a batch to validate."""
    setting = search_step.SETTINGS["paper"]
    steady = steady_step(setting, device)
    steps = SEARCH_IMAGES // setting.batch
    validations = math.ceil(SEARCH_IMAGES / setting.batch)
    epoch = steps * steady["step_seconds"] + validations * steady["validation_seconds"]
    return {
        **steady,
        "epochs": EPOCHS,
        "steps_per_epoch": steps,
        "validations_per_epoch": validations,
        "search_seconds": EPOCHS * epoch,
    }


def start_up(device: torch.device) -> dict[str, dict[str, float]]:
    """From the start of a process to the end of its first step, without and with a kernel cache."""
    seconds = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm"):
            start = time.monotonic()
            environment = {"TRITON_CACHE_DIR": cache}
            paper = search_step.SETTINGS["paper"]
            with Child(paper, "fused", device, environment=environment) as child:
                first = child.call("step")
                whole = time.monotonic() - start
            seconds[state] = {"process_to_first_step_seconds": whole, "first_step_seconds": first}
    return seconds


def roofline(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Steps against the time in which a copy moves what the fused form has to move."""
    measured = [
        (case, form, case[form]["median_seconds"])
        for case in report["search_step"]
        for form in ("fused", "graphs")
    ]
    measured += [
        (row, "fused", row["step_seconds"]) for row in report.get("scaling", {}).get("rows", [])
    ]
    rows = []
    for setting, form, seconds in measured:
        moved = step_bytes(
            setting["channels"],
            setting["cells"],
            setting["batch"],
            image_size=setting["image_size"],
        )
        predicted = moved / report["copy_bytes_per_ms"]
        rows.append(
            {
                "setting": setting["name"],
                "form": form,
                "bytes": moved,
                "predicted_ms": predicted,
                "measured_ms": 1000 * seconds,
                "gap": 1000 * seconds / predicted,
            }
        )
    return rows


def full_search(suite: Suite, dataset_name: str, device: torch.device) -> None:
    """Run the paper's search where the projection says that it fits."""
    steady = suite.report.get("projection")
    if steady is None:
        suite.skip("full_search", "there is no projection to say whether it fits")
        return
    config = SearchConfig.from_preset("paper", {"dataset": dataset_name, "device": str(device)})
    dataset = load_dataset(
        config.dataset, Path(config.data_root), config.stored_size, config.data_seed
    )
    phase = SearchPhase(config, dataset)
    validations = math.ceil(len(phase.data.valid) / config.batch_size)
    epoch = phase.steps * steady["step_seconds"] + validations * steady["validation_seconds"]

    def search(_: Callable[[], bool]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            result = run_search(phase, RunDir.create(dataset.name, Path(folder) / "run"), silent)
        return {
            "dataset": dataset.name,
            "epochs": config.epochs,
            "steps_per_epoch": phase.steps,
            "seconds": result.seconds,
            "valid_accuracy": result.records[-1]["valid_accuracy"],
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
            "genotype": result.genotype.to_dict(),
        }

    suite.run("full_search", 1.2 * config.epochs * epoch + 10, search)


def show(out: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """A table with a row for each dictionary."""
    if rows:
        cells = [[f"{v:.4g}" if isinstance(v, float) else v for v in row.values()] for row in rows]
        out.print(table(title, rows[0], cells))


def measure(suite: Suite, device: torch.device, full: str | None) -> None:
    """All parts, the most wanted first."""
    report = suite.report
    for setting in search_step.SETTINGS.values():
        suite.run(f"search_step_{setting.name}", 60, comparison(setting, device))
    report["search_step"] = [
        {**report.pop(key), "errors": report["errors"][name]}
        for name in search_step.SETTINGS
        if (key := f"search_step_{name}") in report
    ]
    suite.run("projection", 20, lambda _: projection(device))
    suite.run("start_up", 90, lambda _: start_up(device))
    suite.run("kernels", 150, lambda over: kernel_rows(report["copy_bytes_per_ms"], over))
    suite.run("scaling", 100, lambda over: scaling(device, over))
    if full is not None:
        full_search(suite, full, device)
    report["roofline"] = roofline(report)
    suite.save()


def tell(report: Mapping[str, Any]) -> None:
    """The tables, and the projection in a line."""
    out = console()
    for case in report["search_step"]:
        search_step.show(out, case)
    if projected := report.get("projection"):
        out.print(
            f"{EPOCHS} epochs of {projected['steps_per_epoch']} steps: "
            f"{projected['search_seconds']:.0f} s, projected from "
            f"{1000 * projected['step_seconds']:.1f} ms a step"
        )
    for state, seconds in report.get("start_up", {}).items():
        shown = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
        out.print(f"start with a {state} kernel cache: {shown}")
    for part in ("kernels", "scaling"):
        show(out, part, report.get(part, {}).get("rows", []))
    show(out, "roofline", report["roofline"])


def main(arguments: list[str]) -> int:
    """Check, measure, save, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, metavar="PATH", help="default: in benchmarks/results")
    parser.add_argument("--check-only", action="store_true", help="nothing timed")
    parser.add_argument(
        "--full", nargs="?", const="shapes", metavar="DATASET", help="search too (shapes)"
    )
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not cuda and not options.check_only:
        print(
            "This suite needs a CUDA GPU, and torch finds none; --check-only runs without one.",
            file=sys.stderr,
        )
        return 1
    device = torch.device("cuda" if cuda else "cpu")
    environment = describe_environment(device)
    file = f"gpu-suite-{environment['device_name'].lower().replace(' ', '-')}.json"
    out = options.out or Path(__file__).parent / "results" / file
    suite = Suite(out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), **environment})
    torch.manual_seed(0)
    try:
        suite.report["errors"] = check(
            device, interpreted=os.environ.get("TRITON_INTERPRET") == "1"
        )
        if options.check_only:
            return 0
        make_deterministic()
        torch.cuda.empty_cache()
        suite.report["copy_bytes_per_ms"] = kernels.copy_bytes_per_ms()
        measure(suite, device, options.full)
    except SdedgeError as error:
        print(error, file=sys.stderr)
        return 1
    tell(suite.report)
    print(f"saved {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
