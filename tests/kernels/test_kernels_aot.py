import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def usages() -> list[dict[str, Any]]:
    """In a fresh interpreter: under TRITON_INTERPRET triton compiles nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = [sys.executable, ROOT / "benchmarks" / "aot.py", "--json"]
    run = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert run.stdout, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout)
    return rows


@pytest.mark.slow
def test_every_kernel_compiles_for_every_architecture(usages: list[dict[str, Any]]) -> None:
    written = {
        name
        for path in (ROOT / "kernels").glob("*/fused.py")
        for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(), re.MULTILINE)
    }
    assert len(written) >= 4
    compiled = {(usage["kernel"], usage["capability"]) for usage in usages}
    assert compiled == {(name, sm) for name in written for sm in (75, 80, 86, 90, 100)}


@pytest.mark.slow
def test_no_kernel_spills(usages: list[dict[str, Any]]) -> None:
    assert [usage for usage in usages if usage["spilled_bytes"]] == []


@pytest.mark.slow
def test_mixed_sum_loads_four_elements_at_once(usages: list[dict[str, Any]]) -> None:
    for usage in usages:
        if usage["kernel"].startswith("mixed_sum"):
            assert usage["widest_load_bits"] >= (128 if "fp32" in usage["case"] else 64), usage
