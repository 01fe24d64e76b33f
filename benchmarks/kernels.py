"""Check, then time, the fused operators forward and backward on a CUDA GPU.

    python benchmarks/kernels.py [--json PATH]
    python benchmarks/kernels.py --check-only     # small; also without a GPU, TRITON_INTERPRET=1

Every case is first held against float64; one that fails ends the run before anything is timed.
Then the Triton kernels, eager torch and torch.compile take turns: CUDA events around forward and
backward, caches flushed between calls, median. Bandwidth is the minimum that the fused form has to
move over the time it takes; its share is of a copy measured in the same run.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.testing import do_bench

from sdedge.files import write_json
from sdedge.kernels import masked_mse, mixed_sum, pools, separable
from sdedge.kernels.batch_norm import batch_statistics
from sdedge.kernels.masked_mse.reference import masked_mse_reference
from sdedge.kernels.mixed_sum.reference import mixed_sum_reference
from sdedge.kernels.pools.reference import pools_reference
from sdedge.kernels.separable.reference import separable_reference

Operator = Callable[..., list[Tensor]]  # of the leaves


@dataclass(frozen=True)
class Case:
    """One operator on tensors of one shape and dtype."""

    name: str
    leaves: list[Tensor]  # get gradients
    fused: Operator
    reference: Operator
    least_bytes: float  # that forward and backward move if every tensor is touched once


def maps(count: int, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Feature maps as the supernet holds them, channels-last."""
    form = torch.channels_last
    return [torch.randn(shape, device=device).to(dtype, memory_format=form) for _ in range(count)]


def mixed_sum_case(count: int, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    """Raw maps: forward reads K and writes one; backward reads K + 1 and writes K."""
    inputs = maps(count, shape, dtype, device)
    statistics = [batch_statistics(z) for z in inputs]
    return Case(
        f"mixed_sum K={count} {shape} {dtype}",
        [torch.rand(count, device=device), *inputs],
        lambda weights, *zs: [mixed_sum(zs, weights, statistics, impl="triton")],
        lambda weights, *zs: [mixed_sum_reference(zs, weights, statistics)],
        (3 * count + 2) * inputs[0].nbytes,
    )


def separable_case(
    size: int, dilation: int, shape: tuple[int, ...], dtype: torch.dtype, device: str, first: bool
) -> Case:
    """Four branches: first halves, of one source, or second halves, of four raw maps.

    Forward reads the sources and writes the outputs; backward reads both and writes the sources'.
    """
    inputs = maps(1 if first else 4, shape, dtype, device)
    statistics = None if first else [batch_statistics(x) for x in inputs]
    c, sources = shape[1], len(inputs)
    depthwise = [torch.randn(c, 1, size, size, device=device) / size for _ in range(4)]
    pointwise = [torch.randn(c, c, 1, 1, device=device) / c**0.5 for _ in range(4)]

    def arguments(leaves: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return list(leaves[:sources]), list(leaves[sources:-4]), list(leaves[-4:])

    def fused(*leaves: Tensor) -> list[Tensor]:
        return separable(*arguments(leaves), statistics, dilation=dilation, impl="triton")[0]

    def reference(*leaves: Tensor) -> list[Tensor]:
        return separable_reference(*arguments(leaves), statistics, 1, dilation, True)[0]

    return Case(
        f"separable {size}x{size} dilation={dilation} sources={sources} {shape} {dtype}",
        [*inputs, *depthwise, *pointwise],
        fused,
        reference,
        (3 * sources + 8) * inputs[0].nbytes,
    )


def pools_case(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    """Forward reads one map and writes two; backward reads two and writes one."""
    (x,) = maps(1, shape, dtype, device)
    return Case(
        f"pools {shape} {dtype}",
        [x],
        lambda x: pools(x, impl="triton")[0],
        lambda x: pools_reference(x, 1, True)[0],
        6 * x.nbytes,
    )


def masked_mse_case(patch: int, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    """Both passes read the masked pixels of two images; backward writes all of one."""
    prediction, target = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    noise = torch.rand(shape[0], shape[2] // patch * (shape[3] // patch), device=device)
    ratio = 0.6
    mask = noise < ratio
    return Case(
        f"masked_mse P={patch} {shape} {dtype}",
        [prediction],
        lambda x: [masked_mse(x, target, mask, patch, impl="triton")],
        lambda x: [masked_mse_reference(x, target, mask, patch)],
        (4 * ratio + 1) * prediction.nbytes,
    )


def cases(device: str, small: bool) -> Iterator[Case]:
    """A node, branches and pools of each stage of a DARTS search; CIFAR and ImageNet patches."""
    stages = [(64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8)]
    for dtype in (torch.float32, torch.float16 if small else torch.bfloat16):
        for shape in [(1, 8, 4, 5)] if small else stages:
            yield mixed_sum_case(9 if small else 35, shape, dtype, device)
            yield separable_case(5, 1, shape, dtype, device, first=True)
            yield separable_case(3, 2, shape, dtype, device, first=False)
            yield pools_case(shape, dtype, device)
        if small:
            yield masked_mse_case(4, (2, 3, 8, 12), dtype, device)
            continue
        yield masked_mse_case(8, (64, 3, 32, 32), dtype, device)
        yield masked_mse_case(16, (256, 3, 224, 224), dtype, device)


def forward_backward(
    operator: Operator, leaves: list[Tensor], upstream: list[Tensor]
) -> list[Tensor]:
    """Return the outputs and the gradient of every leaf."""
    outputs = operator(*leaves)
    upstream = [g.to(y.dtype) for g, y in zip(upstream, outputs, strict=True)]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


def first_excess(
    fused: list[Tensor], eager: list[Tensor], exact: list[Tensor], outputs: int = 1
) -> str:
    """Name the first tensor of [*outputs, *gradients] that is too far from float64, if any.

    An output may be off by twice as much as eager torch in the same dtype, a gradient by three
    times; where eager is exact by luck, by as many times two roundings of the largest value.
    """
    for i, (a, b, truth) in enumerate(zip(fused, eager, exact, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"tensor {i} is {tuple(a.shape)} {a.dtype}, not {tuple(b.shape)} {b.dtype}"
        if not a.numel():
            continue
        rounding = 2 * torch.finfo(a.dtype).eps * truth.abs().max()
        allowed = (2 if i < outputs else 3) * torch.maximum(
            (b.double() - truth).abs().max(), rounding
        )
        error = (a.double() - truth).abs().max()
        if not error <= allowed:  # also if it is NaN
            return f"tensor {i} is off by {error:.3g}, allowed {allowed:.3g}"
    return ""


def check(case: Case) -> str:
    """Return what is wrong with the fused operator, or nothing."""
    leaves = [leaf.detach().requires_grad_() for leaf in case.leaves]
    doubles = [leaf.detach().double().requires_grad_() for leaf in case.leaves]
    upstream = [torch.randn_like(y) for y in case.reference(*leaves)]
    return first_excess(
        forward_backward(case.fused, leaves, upstream),
        forward_backward(case.reference, leaves, upstream),
        forward_backward(case.reference, doubles, upstream),
        outputs=len(upstream),
    )


def median_ms(operator: Operator, leaves: list[Tensor]) -> float:
    """Milliseconds that forward and backward take on the device."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    upstream = [torch.randn_like(y) for y in operator(*leaves)]
    return float(
        do_bench(lambda: forward_backward(operator, leaves, upstream), return_mode="median")
    )


def copy_bytes_per_ms() -> float:
    """Bytes read and written in a millisecond of a copy that is far larger than any cache."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / float(do_bench(lambda: target.copy_(source), return_mode="median"))


def measure(case: Case, copy: float) -> dict[str, str | float]:
    """Time one case three ways."""
    torch.compiler.reset()
    fused = median_ms(case.fused, case.leaves)
    eager = median_ms(case.reference, case.leaves)
    compiled = median_ms(torch.compile(case.reference, dynamic=False), case.leaves)
    return {
        "case": case.name,
        "triton_ms": fused,
        "eager_ms": eager,
        "compile_ms": compiled,
        "eager_over_triton": eager / fused,
        "compile_over_triton": compiled / fused,
        "triton_gb_per_s": case.least_bytes / fused / 1e6,
        "share_of_copy": case.least_bytes / fused / copy,
    }


def main(arguments: list[str]) -> int:
    """Check, time, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows there too")
    parser.add_argument("--check-only", action="store_true", help="small cases, nothing timed")
    options = parser.parse_args(arguments)
    interpreted = options.check_only and os.environ.get("TRITON_INTERPRET") == "1"
    if not torch.cuda.is_available() and not interpreted:
        print(
            "This benchmark needs a CUDA GPU, and torch finds none. "
            "TRITON_INTERPRET=1 with --check-only checks the values without one.",
            file=sys.stderr,
        )
        return 1
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    for case in cases(device, options.check_only):
        if problem := check(case):
            print(f"WRONG {case.name}: {problem}; nothing was timed", file=sys.stderr)
            return 1
        print(f"right {case.name}")
    if options.check_only:
        return 0
    copy = copy_bytes_per_ms()
    rows = []
    for case in cases(device, small=False):
        rows.append(measure(case, copy))
        if len(rows) == 1:
            print("|", " | ".join(rows[0]), "|")
            print("|", " | ".join("---" for _ in rows[0]), "|")
        values = (v if isinstance(v, str) else f"{v:.3g}" for v in rows[-1].values())
        print("|", " | ".join(values), "|", flush=True)
    if options.json:
        gpu = torch.cuda.get_device_name()
        versions = {"torch": torch.__version__, "triton": triton.__version__}
        write_json(
            options.json, {"gpu": gpu, **versions, "copy_gb_per_s": copy / 1e6, "rows": rows}
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
