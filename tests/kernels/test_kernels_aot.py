import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdedge import dependencies

ROOT = Path(__file__).parents[2]
# What the kernels spill with the locked triton, in bytes: two registers, to fit a tenth program.
SPILLED = {
    ("separable_fwd_kernel", "fp32, C=32, 3x3, dilation and stride 2, statistics", capability): 8
    for capability in (86, 90)
}


@pytest.fixture(scope="module")
def run() -> "subprocess.CompletedProcess[str]":
    """In a fresh interpreter: under TRITON_INTERPRET triton compiles nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = [sys.executable, ROOT / "benchmarks" / "aot.py", "--json"]
    return subprocess.run(script, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def usages(run: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert run.stdout, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout)
    return rows


@pytest.mark.slow
def test_every_kernel_compiles_for_every_architecture(usages: list[dict[str, Any]]) -> None:
    written = {
        name
        for path in (ROOT / "kernels").rglob("*.py")
        for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(), re.MULTILINE)
    }
    assert len(written) >= 10
    compiled = {(usage["kernel"], usage["capability"]) for usage in usages}
    assert compiled == {(name, sm) for name in written for sm in (75, 80, 86, 90, 100)}


@pytest.mark.slow
def test_no_kernel_spills_more_than_a_few_registers(
    run: "subprocess.CompletedProcess[str]",
) -> None:
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_what_spills_with_the_locked_compiler(usages: list[dict[str, Any]]) -> None:
    if dependencies.installed("triton") != str(dependencies.locked("triton")):
        pytest.skip(f"judged with triton {dependencies.locked('triton')}, of requirements.lock")
    spilled = {
        (usage["kernel"], usage["case"], usage["capability"]): usage["spilled_bytes"]
        for usage in usages
        if usage["spilled_bytes"]
    }
    assert spilled == SPILLED


@pytest.mark.slow
def test_passes_over_maps_load_as_wide_as_they_can(usages: list[dict[str, Any]]) -> None:
    passes = re.compile("fwd_kernel|bwd_kernel|bwd_[a-z]+_kernel|sums_kernel")
    for usage in usages:
        if passes.search(usage["kernel"]) and "masked" not in usage["kernel"]:
            four_halves = "fp16, C=16, K=41" in usage["case"]  # no fp32 channel numbers beside them
            assert usage["widest_load_bits"] == (64 if four_halves else 128), usage


@pytest.mark.slow
def test_mixed_sum_moves_each_map_once_a_pass(usages: list[dict[str, Any]]) -> None:
    one = 64 * 16 * 32 * 32 * 4
    moved = {
        usage["kernel"]: usage["moved_bytes"] / one
        for usage in usages
        if usage["case"] == "fp32, C=16, K=35"
    }
    assert moved["mixed_sum_fwd_kernel"] == pytest.approx(36, abs=0.1)
    assert moved["mixed_sum_sums_kernel"] == pytest.approx(36, abs=0.5)
    assert moved["mixed_sum_bwd_kernel"] == pytest.approx(71, abs=0.1)
