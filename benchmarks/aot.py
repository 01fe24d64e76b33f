"""Compile every fused kernel for every supported NVIDIA architecture, without a GPU.

    python benchmarks/aot.py [--json]

Calls each operator on CPU tensors with its kernels replaced by recorders, so what is compiled is
what would be launched: the mixed sum of the last node of a DARTS cell (35 inputs), one of more
inputs than a launch takes, and the reconstruction loss of a batch of CIFAR images. Prints what
ptxas allotted and the widest global load in the PTX; exits 1 if a kernel spills to memory.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # triton compiles nothing while it interprets

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sdedge.kernels.masked_mse import fused as masked_mse
from sdedge.kernels.mixed_sum import fused as mixed_sum

CAPABILITIES = (75, 80, 86, 90, 100)
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
MODULES: tuple[ModuleType, ...] = (masked_mse, mixed_sum)


@dataclass(frozen=True)
class Launch:
    """One kernel with the arguments of one launch."""

    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Usage:
    """What one compiled kernel takes; registers are those of one thread."""

    kernel: str
    case: str
    capability: int
    registers: int
    spilled_bytes: int
    shared_bytes: int
    widest_load_bits: int


class Recorder:
    """Stands in for a kernel and keeps the arguments of its launches."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def record(*positional: Any, **named: Any) -> None:
            names = self.kernel.arg_names
            given = dict(zip(names, positional, strict=False)) | named
            arguments = {name: given.pop(name) for name in names}
            self.launches.append(Launch(self.kernel, arguments, options=given))

        return record


def mixed_sum_call(dtype: torch.dtype, count: int, w_step: bool) -> Tensor:
    """Mix feature maps of the first cell; a step on network weights wants no gradient of these."""
    inputs = [torch.ones(64, 16, 32, 32, dtype=dtype, requires_grad=True) for _ in range(count)]
    return mixed_sum.mixed_sum_fused(inputs, torch.ones(count, requires_grad=not w_step))


def masked_mse_call(dtype: torch.dtype) -> Tensor:
    """Compare a batch of CIFAR images."""
    prediction = torch.ones(64, 3, 32, 32, dtype=dtype, requires_grad=True)
    mask = torch.ones(64, 16, dtype=torch.bool)
    return masked_mse.masked_mse_fused(prediction, prediction.detach(), mask, 8)


def operator_calls() -> Iterator[tuple[str, Tensor]]:
    """Call the operators forward; yields (case, output)."""
    for dtype in (torch.float32, torch.bfloat16):
        yield f"{DTYPES[dtype]}, K=35", mixed_sum_call(dtype, 35, w_step=False)
    yield "fp16, K=41, w step", mixed_sum_call(torch.float16, 41, w_step=True)
    for dtype in (torch.float32, torch.float16):
        yield f"{DTYPES[dtype]}, P=8", masked_mse_call(dtype)


def record_launches() -> list[tuple[str, Launch]]:
    """Replace the kernels by recorders; return (case, launch) of every forward and backward."""
    launches: list[Launch] = []
    for module in MODULES:
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            setattr(module, name, Recorder(getattr(module, name), launches))
    labelled: list[tuple[str, Launch]] = []
    for case, output in operator_calls():
        torch.autograd.backward(output, torch.ones_like(output))
        labelled += [(case, launch) for launch in launches[len(labelled) :]]
    return labelled


def source(launch: Launch) -> ASTSource:
    """Specialise a kernel on its arguments as triton does at a launch."""
    signature: dict[str, Any] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}

    def specialise(value: Any, path: tuple[int, ...]) -> Any:
        if isinstance(value, tuple):
            return tuple(specialise(item, (*path, i)) for i, item in enumerate(value))
        if value is None or launch.kernel.params[path[0]].is_constexpr:
            constants[path] = value
            return "constexpr"
        address = value.data_ptr() if isinstance(value, Tensor) else value
        if address % 16 == 0:
            attributes[path] = [["tt.divisibility", 16]]
        return f"*{DTYPES[value.dtype]}" if isinstance(value, Tensor) else "i32"

    for i, (name, value) in enumerate(launch.arguments.items()):
        signature[name] = specialise(value, (i,))
    return ASTSource(launch.kernel, signature, constants, attributes)


def compile_launch(case: str, launch: Launch, capability: int) -> Usage:
    """Compile to a cubin and read off what it takes."""
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source(launch), target=target, options=launch.options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(compiled.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(cubin)]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken = {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", report)}
    loads = re.findall(r"ld\.global\S*?(?:\.v(\d))?\.b(\d+)", compiled.asm["ptx"])
    return Usage(
        kernel=launch.kernel.__name__,
        case=case,
        capability=capability,
        registers=taken["REG"],
        spilled_bytes=taken["STACK"] + taken["LOCAL"],
        shared_bytes=compiled.metadata.shared,
        widest_load_bits=max(int(lanes or 1) * int(bits) for lanes, bits in loads),
    )


def print_table(usages: list[Usage]) -> None:
    """Print one line a launch, the architectures beside each other."""
    measures = {
        "registers": "registers",
        "spilled_bytes": "spilled, bytes",
        "shared_bytes": "shared, bytes",
        "widest_load_bits": "widest load, bits",
    }
    architectures = ", ".join(f"sm_{capability}" for capability in CAPABILITIES)
    print(f"Values are for {architectures} in this order, or one for all.\n")
    print("| kernel | case |", " | ".join(measures.values()), "|")
    print("| --- " * (2 + len(measures)) + "|")
    for start in range(0, len(usages), len(CAPABILITIES)):
        row = usages[start : start + len(CAPABILITIES)]
        cells = [[str(getattr(usage, name)) for usage in row] for name in measures]
        shown = [values[0] if len(set(values)) == 1 else " ".join(values) for values in cells]
        print(f"| `{row[0].kernel}` | {row[0].case} |", " | ".join(shown), "|")


def main() -> int:
    """Print the table, or one JSON array; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a JSON array instead of a table")
    as_json = parser.parse_args().json
    usages = [
        compile_launch(case, launch, capability)
        for case, launch in record_launches()
        for capability in CAPABILITIES
    ]
    if as_json:
        print(json.dumps([asdict(usage) for usage in usages], indent=1))
    else:
        print_table(usages)
    return 1 if any(usage.spilled_bytes for usage in usages) else 0


if __name__ == "__main__":
    sys.exit(main())
