"""Check and measure the networks of this bundle on the machine that runs this program.

    python3 board.py [--threads N] [--out result.json]

First that the files arrived whole, then that the outputs are those of the machine where the bundle
was made, and only then latency. Exits with 1, and measures nothing, if an output is wrong.
The file works with bench.py beside it: Python 3.9, numpy and onnxruntime are all it needs.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import numpy as np

    if TYPE_CHECKING:
        from sdedge.deploy.latency import bench
    else:
        import bench
except ImportError as missing:
    sys.exit(
        f"Error: {missing}. Install what is missing with `python3 -m pip install numpy "
        "onnxruntime`, and run board.py in its unpacked bundle."
    )
except SyntaxError as damage:
    sys.exit(f"Error: bench.py is damaged ({damage.msg}): copy the bundle again and unpack it")

FORMAT = 1
HERE = Path(__file__).resolve().parent
AGAIN = "copy the bundle to this machine again and unpack it"
MICRO_SHARE = 0.1  # of the time of a network, for each micro-benchmark
MANIFEST: dict[str, type] = {"sha256": dict, "models": list, "micro": list}
MICRO: dict[str, type] = {"file": str, "precision": str}
MODEL: dict[str, type] = {**MICRO, "samples": str, "tolerance": float}


class BundleError(Exception):
    """The bundle or the result cannot be used; the message says why and the way out."""


def has(value: object, fields: dict[str, type]) -> bool:
    """Whether `value` is an object with fields of these names and types."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kind) for name, kind in fields.items()
    )


def is_complete(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has all that is read of it, and a checksum for each file that it names."""
    if not has(manifest, MANIFEST):
        return False
    models, micro = manifest["models"], manifest["micro"]
    if not all(has(row, MODEL) for row in models) or not all(has(row, MICRO) for row in micro):
        return False
    files = {row["file"] for row in models + micro} | {row["samples"] for row in models}
    return bool(models) and files <= manifest["sha256"].keys()


def read_manifest() -> dict[str, Any]:
    """What this bundle holds, once every file of it is proved whole."""
    try:
        manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"manifest.json cannot be read ({error}): {AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"manifest.json is not of format {FORMAT}: {AGAIN}")
    if not is_complete(manifest):
        raise BundleError(f"manifest.json is damaged: {AGAIN}")
    for name, expected in manifest["sha256"].items():
        try:
            found = hashlib.sha256((HERE / name).read_bytes()).hexdigest()
        except (OSError, ValueError) as error:  # ValueError: no name of a file
            reason = getattr(error, "strerror", error)
            raise BundleError(f"{name} cannot be read ({reason}): {AGAIN}") from error
        if found != expected:
            raise BundleError(f"{name} is damaged (its sha256 is not the manifest's): {AGAIN}")
    return manifest


def family(machine: str) -> str:
    """The family of processors that a name such as aarch64 belongs to."""
    if re.match(r"arm|aarch", machine):
        return "ARM"
    return "x86" if re.match(r"x86|i\d86|amd64", machine, re.IGNORECASE) else machine


def is_emulated(machine: str, kernel: str | None, cpuinfo: str | None) -> bool:
    """Whether a program that sees a `machine` runs on a processor of another family.

    `kernel` is /proc/sys/kernel/arch, which emulators let through (Linux 6.1 or newer), `cpuinfo`
    is /proc/cpuinfo, which older ones let through: only x86 names a vendor_id there.
    """
    if kernel is not None and family(kernel) != family(machine):
        return True
    return family(machine) == "ARM" and "vendor_id" in (cpuinfo or "")


def saturates(machine: str, cpuinfo: str | None) -> bool:
    """Whether onnxruntime's int8 sums saturate: on x86 without VNNI two products share 16 bits."""
    return family(machine) == "x86" and "vnni" not in (cpuinfo or "")


def compare(session: Any, model: dict[str, Any]) -> dict[str, Any]:
    """Run the samples one by one; how far the logits are from the expected ones."""
    with np.load(HERE / model["samples"]) as samples:
        images, expected = samples["images"], samples["logits"]
    name = session.get_inputs()[0].name
    try:
        actual = np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
    except bench.ORT_ERRORS as error:
        raise BundleError(f"{model['file']} does not run: {bench.error_text(error)}") from error
    difference = float(np.abs(actual - expected).max())
    changed = int((actual.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return {
        "images": len(images),
        "outputs_match": difference <= model["tolerance"] and changed == 0,  # False for a NaN
        "max_abs_difference": difference if np.isfinite(difference) else None,
        "tolerance": model["tolerance"],
        "differing_predictions": changed,
    }


def noise(session: Any) -> dict[str, Any]:
    """Random values for every input of a model; open dimensions are 1."""
    return {
        node.name: bench.random_image(
            [size if isinstance(size, int) else 1 for size in node.shape],
            bench.INPUT_TYPES[node.type],
        )
        for node in session.get_inputs()
    }


def timing(run: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Latency of `run`, timed for at least so long."""
    bench.warm_up(run, seconds / 4)
    samples_ns, settled = bench.time_runs(run, 50, seconds, 7.5 * seconds)
    figures: dict[str, Any] = bench.latency(samples_ns, batch=1)
    percentiles = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
    return {**{name: figures[name] for name in percentiles}, "settled": settled}


def check(models: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Run every network on its samples; how its outputs compare to the expected ones."""
    rows = []
    for model in models:
        compared = compare(bench.open_session(HERE / model["file"], threads), model)
        rows.append({"file": model["file"], "precision": model["precision"], **compared})
        print(outcome(rows[-1]), flush=True)
    return rows


def measured(row: dict[str, Any], threads: int, seconds: float) -> dict[str, Any]:
    """The row of a model with its latency."""
    session = bench.open_session(HERE / row["file"], threads)
    try:
        return {**row, **timing(functools.partial(session.run, None, noise(session)), seconds)}
    except bench.ORT_ERRORS as error:
        raise BundleError(f"{row['file']} does not run: {bench.error_text(error)}") from error


def outcome(row: dict[str, Any]) -> str:
    """The outputs of a model, for people."""
    difference = row["max_abs_difference"]
    return (
        f"{row['file']}: outputs {'match' if row['outputs_match'] else 'DO NOT MATCH'}; over "
        f"{row['images']} images the logits differ by "
        f"{'values that are not finite' if difference is None else f'at most {difference:.2g}'} "
        f"(allowed: {row['tolerance']:.2g}), {row['differing_predictions']} predictions differ"
    )


def speed(row: dict[str, Any]) -> str:
    """The latency of a model, for people."""
    return (
        f"{row['file']}: p50 {row['latency_p50_ms']:.3f} ms, p95 {row['latency_p95_ms']:.3f} ms, "
        f"p99 {row['latency_p99_ms']:.3f} ms"
        + ("" if row["settled"] else " (not settled: other work is using this machine)")
    )


def matching(report: dict[str, Any]) -> bool:
    """Whether all outputs are as expected."""
    return all(row["outputs_match"] for row in report["models"])


def run(threads: int, seconds: float, emulated: bool) -> dict[str, Any]:
    """Check everything, measure what may be measured, tell about both."""
    manifest = read_manifest()
    machine = bench.machine()
    print(
        f"{machine['cpu_model']}, {platform.machine()}, onnxruntime "
        f"{machine['onnxruntime_version']}, threads: {threads}"
    )
    report: dict[str, Any] = {
        "format": FORMAT,
        "emulated": emulated,
        "threads": threads,
        "machine": machine,
        "models": check(manifest["models"], threads),
        "micro": [],
    }
    if emulated:
        print("This processor is emulated: outputs were checked, nothing was timed.")
    elif not matching(report):
        print("Outputs do not match: nothing was timed.")
        wrong = {row["precision"] for row in report["models"] if not row["outputs_match"]}
        if wrong == {"int8"} and saturates(platform.machine(), bench.read_text("/proc/cpuinfo")):
            print("This x86 processor has no VNNI, so int8 sums saturate: use the fp32 network.")
    else:
        gc.disable()  # a collection inside a timed run would count as the model's time
        for i, row in enumerate(report["models"]):
            report["models"][i] = measured(row, threads, seconds)
            print(speed(report["models"][i]), flush=True)
        for i, row in enumerate(manifest["micro"]):
            report["micro"].append(measured(row, threads, seconds * MICRO_SHARE))
            if (i + 1) % 20 == 0 or i + 1 == len(manifest["micro"]):
                print(f"{i + 1} of {len(manifest['micro'])} micro-benchmarks measured", flush=True)
    return report


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the result so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, os.path.realpath(path))  # a link stays
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BundleError(
            f"cannot write {path} ({error.strerror}): choose another place with --out"
        ) from error


def main() -> int:
    """Parse the command line, write the result, return the exit code."""
    parser = argparse.ArgumentParser(
        description="Check and measure the networks of this bundle on this machine."
    )
    parser.add_argument("--threads", type=int, help="default: the physical cores")
    parser.add_argument("--out", type=Path, default=Path("result.json"), help="result.json")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="minimum time to measure a network (2)"
    )
    parser.add_argument(
        "--emulated", action="store_true", help="this processor is emulated: time nothing"
    )
    settings = parser.parse_args()
    threads = bench.physical_cores() if settings.threads is None else settings.threads
    cpuinfo = bench.read_text("/proc/cpuinfo")
    kernel = bench.read_text("/proc/sys/kernel/arch")
    emulated = settings.emulated or is_emulated(platform.machine(), kernel, cpuinfo)
    try:
        bench.check_threads(threads)
        bench.check_within(0, bench.MAX_SECONDS, seconds=settings.seconds)
        # Renaming over a device or a pipe, such as /dev/stdout, would put an end to it.
        replaceable = settings.out.is_file() or not settings.out.exists()
        if not replaceable or not os.access(settings.out.absolute().parent, os.W_OK):
            raise BundleError(f"cannot write {settings.out}: choose another place with --out")
        report = run(threads, settings.seconds, emulated)
        write(settings.out, report)
    except (BundleError, bench.ModelError) as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    print(f"Wrote {settings.out}")
    return 0 if matching(report) else 1


if __name__ == "__main__":
    sys.exit(main())
