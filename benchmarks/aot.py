"""Compile every fused kernel for every supported NVIDIA architecture, without a GPU.

    python benchmarks/aot.py [--json]

Calls each operator on CPU tensors with its kernels replaced by recorders, so what is compiled is
what would be launched: in a DARTS supernet for CIFAR (64 images, 16 channels of 32 x 32 to 64 of
8 x 8) the last node of a cell (35 inputs), four separable branches and both pools; and the
reconstruction loss. Prints what ptxas allotted, the widest global load in the PTX, and the size of
all tensors that the launch reads or writes; exits 1 if a kernel spills more than a few registers.
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
from typing import Any, ClassVar

os.environ.pop("TRITON_INTERPRET", None)  # triton compiles nothing while it interprets

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sdedge.kernels import fused as shared
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.kernels.masked_mse import fused as masked_mse
from sdedge.kernels.mixed_sum import fused as mixed_sum
from sdedge.kernels.pools import fused as pools
from sdedge.kernels.separable import fused as separable

CAPABILITIES = (75, 80, 86, 90, 100)
# ptxas may spill a few registers to fit one more program; where it does depends on its release.
TOLERATED_SPILL = 32  # bytes a thread
DTYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int8: "i8",
}
MODULES: tuple[ModuleType, ...] = (masked_mse, mixed_sum, pools, separable, shared)
STAGES = {16: 32, 32: 16, 64: 8}  # channels -> height and width in a DARTS supernet for CIFAR


@dataclass(frozen=True)
class Launch:
    """One kernel with the arguments of one launch."""

    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]
    moved_bytes: int  # if every tensor is read or written once


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
    moved_bytes: int


class Recorder:
    """Stands in for a kernel and keeps the arguments of its launches."""

    stored: ClassVar[dict[int, Tensor | None]] = {}  # by where their addresses are kept

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def record(*positional: Any, **named: Any) -> None:
            names = self.kernel.arg_names
            options = dict(zip(names, positional, strict=False)) | named
            arguments = {name: options.pop(name) for name in names}
            moved = sum(self.sizes(arguments).values())
            self.launches.append(Launch(self.kernel, arguments, options, moved))

        return record

    def sizes(self, arguments: dict[str, Any]) -> dict[int, int]:
        """Bytes of every tensor by its address, those behind stored addresses too."""
        if "p_address" in arguments:
            table, none = arguments["p_address"], arguments["p_none"]
            for k, x in enumerate(arguments["p_xs"]):
                self.stored[table.data_ptr() + 8 * k] = None if x is none else x
            return {0: table.nbytes}
        tensors = [x for x in arguments.values() if isinstance(x, Tensor)]
        tensors += [x for xs in arguments.values() if isinstance(xs, tuple) for x in xs]
        for table in [x for x in tensors if x.dtype == torch.int64]:
            slots = [table.data_ptr() + 8 * k for k in range(len(table))]
            tensors += [x for slot in slots if (x := self.stored[slot]) is not None]
        return {x.data_ptr(): x.nbytes for x in tensors}


def maps(count: int, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """Feature maps of one stage, channels-last, that want a gradient."""
    shape = (64, channels, STAGES[channels], STAGES[channels])
    form = torch.channels_last
    return [
        torch.ones(shape, dtype=dtype).contiguous(memory_format=form).requires_grad_()
        for _ in range(count)
    ]


def mixed_sum_call(dtype: torch.dtype, count: int, channels: int, w_step: bool) -> list[Tensor]:
    """Mix feature maps; a step on network weights wants no gradient of the mixing weights."""
    inputs = maps(count, channels, dtype)
    statistics = None if w_step else [batch_statistics(x) for x in inputs]
    weights = torch.ones(count, requires_grad=not w_step)
    return [mixed_sum.mixed_sum_fused(inputs, weights, statistics, True)]


def separable_call(dtype: torch.dtype, channels: int, first: bool) -> list[Tensor]:
    """Four branches: first halves of one source, or second halves of four raw maps."""
    inputs = maps(1 if first else 4, channels, dtype)
    statistics = None if first else [batch_statistics(x) for x in inputs]
    size, dilation, stride = (5, 1, 1) if first else (3, 2, 2)
    depthwise = [torch.ones(channels, 1, size, size, requires_grad=True) for _ in range(4)]
    pointwise = [torch.ones(channels, channels, 1, 1, requires_grad=True) for _ in range(4)]
    return separable.separable_fused(
        inputs, depthwise, pointwise, statistics, stride, dilation, True
    )[0]


def pools_call(dtype: torch.dtype, channels: int, stride: int) -> list[Tensor]:
    """Pool a source."""
    return pools.pools_fused(*maps(1, channels, dtype), stride, True)[0]


def masked_mse_call(dtype: torch.dtype) -> Tensor:
    """Compare a batch of CIFAR images."""
    prediction = torch.ones(64, 3, 32, 32, dtype=dtype, requires_grad=True)
    mask = torch.ones(64, 16, dtype=torch.bool)
    return masked_mse.masked_mse_fused(prediction, prediction.detach(), mask, 8)


def operator_calls() -> Iterator[tuple[str, list[Tensor]]]:
    """Call the operators forward; yields (case, outputs)."""
    fp32, fp16, bf16 = torch.float32, torch.float16, torch.bfloat16
    for dtype, channels in ((fp32, 16), (bf16, 16), (bf16, 64)):
        name = f"{DTYPES[dtype]}, C={channels}, K=35"
        yield name, mixed_sum_call(dtype, 35, channels, w_step=False)
    yield "fp16, C=16, K=41, w step", mixed_sum_call(fp16, 41, 16, w_step=True)
    for dtype in (fp32, bf16):
        for channels in STAGES:
            first = channels != 32
            case = "5x5" if first else "3x3, dilation and stride 2, statistics"
            name = f"{DTYPES[dtype]}, C={channels}, {case}"
            yield name, separable_call(dtype, channels, first)
        yield f"{DTYPES[dtype]}, C=16", pools_call(dtype, 16, stride=1)
        yield f"{DTYPES[dtype]}, C=32, stride 2", pools_call(dtype, 32, stride=2)
    for dtype in (fp32, fp16):
        yield f"{DTYPES[dtype]}, P=8", [masked_mse_call(dtype)]


def record_launches() -> list[tuple[str, Launch]]:
    """Replace the kernels by recorders; return (case, launch) of every forward and backward."""
    launches: list[Launch] = []
    for module in MODULES:
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            setattr(module, name, Recorder(getattr(module, name), launches))
    labelled: list[tuple[str, Launch]] = []
    for case, output in operator_calls():
        torch.autograd.backward(output, [torch.ones_like(z) for z in output])
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
        moved_bytes=launch.moved_bytes,
        widest_load_bits=max((int(lanes or 1) * int(bits) for lanes, bits in loads), default=0),
    )


def print_table(usages: list[Usage]) -> None:
    """Print one line a launch, with a column for each architecture."""
    measures = {
        "registers": "registers",
        "spilled_bytes": "spilled, bytes",
        "shared_bytes": "shared, bytes",
        "widest_load_bits": "widest load, bits",
        "moved_bytes": "moved, bytes",
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
        print(json.dumps([asdict(usage) for usage in usages], indent=1, allow_nan=False))
    else:
        print_table(usages)
    return 1 if any(usage.spilled_bytes > TOLERATED_SPILL for usage in usages) else 0


if __name__ == "__main__":
    sys.exit(main())
