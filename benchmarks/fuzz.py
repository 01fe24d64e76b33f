"""Mutated files for one of the readers of sdedge, by the thousand.

    python benchmarks/fuzz.py images --mutations 30000 [--seed 1] [--json]
    python benchmarks/fuzz.py images --seed 1 --write 123 FILE

The second form writes mutation 123, to see what it does. Exit code 1 with any failure.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from fuzzing.harness import TARGETS, fuzz, mutation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=30, help="an input that takes longer fails"
    )
    parser.add_argument("--memory-mib", type=int, default=1024, help="more is a failure")
    parser.add_argument("--write", nargs=2, metavar=("NUMBER", "FILE"))
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    module = TARGETS[options.target]
    if options.write:
        with tempfile.TemporaryDirectory() as folder:
            target = import_module(module).target(Path(folder))
            data = mutation(target, options.seed, int(options.write[0]))
        Path(options.write[1]).write_bytes(data)
        return 0
    started = time.monotonic()
    report = fuzz(
        module,
        options.mutations,
        options.seed,
        seconds=options.seconds,
        memory_bytes=options.memory_mib * 2**20,
    )
    seconds = time.monotonic() - started
    if options.json:
        report_json = {"target": options.target, "seconds": seconds, **asdict(report)}
        print(json.dumps(report_json, allow_nan=False))
    else:
        print(
            f"{options.target}: {options.mutations:,} mutations in {seconds:.0f} s: "
            f"{report.read:,} read, {report.refused:,} refused, {len(report.failures)} failures"
        )
        for failure in report.failures:
            print(f"  {failure.number}: {failure.kind}: {failure.detail}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
