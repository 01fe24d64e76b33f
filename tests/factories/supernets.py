"""What a pass through a supernet gives, forward and backward, to hold one form against another."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sdedge.kernels import Impl
from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.space.darts.cell import CELL_TYPES
from sdedge.space.darts.supernet import WEIGHT_SHAPE
from sdedge.space.nasbench201.cell import CELL_TYPE, EDGES
from sdedge.space.supernet import ActiveOperations, MixingWeights

# Where a fused operator runs here: on a GPU, or as written for the CPU.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FUSED: Impl = "triton" if torch.cuda.is_available() else "cpu"


def darts_weights(dtype: torch.dtype, operations: int = WEIGHT_SHAPE[1]) -> dict[str, Tensor]:
    """Mixing weights of both cells, each (14, operations)."""
    return _weights(CELL_TYPES, WEIGHT_SHAPE[0], operations, dtype)


def nas_bench_201_weights(dtype: torch.dtype) -> dict[str, Tensor]:
    """Mixing weights of the cell, (6, 5)."""
    return _weights([CELL_TYPE], len(EDGES), len(NAS_BENCH_201_OPERATIONS), dtype)


def _weights(
    cells: Sequence[str], edges: int, operations: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (len(cells), edges, operations)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    return {
        name: row.softmax(dim=1).to(DEVICE, dtype).requires_grad_()
        for name, row in zip(cells, logits, strict=True)
    }


def results(
    net: Any,
    images: Tensor,
    weights: MixingWeights,
    active: ActiveOperations | None = None,
    **settings: Any,
) -> dict[str, Tensor]:
    """Outputs, every gradient under random upstream gradients, and every buffer after the pass."""
    output = net(images.to(DEVICE, next(net.parameters()).dtype), weights, active, **settings)
    generator = torch.Generator().manual_seed(4)
    upstream = [
        torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y) for y in output
    ]
    torch.autograd.backward(output, upstream)
    leaves = {**{f"mixing {n}": w for n, w in weights.items()}, **dict(net.named_parameters())}
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in leaves.items()}
    buffers = {f"{n} after": b for n, b in net.named_buffers()}
    tensors = {**output._asdict(), **gradients, **buffers}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def errors(actual: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative errors, but for gradients that are zero in truth."""
    if actual.keys() != exact.keys():
        raise ValueError(f"one form alone gives {sorted(actual.keys() ^ exact.keys())}")
    return {
        name: float((actual[name].double() - truth).norm() / truth.norm().clamp_min(1e-3))
        for name, truth in ((name, tensor.double()) for name, tensor in exact.items())
        if not is_removed(name)
    }


def is_removed(name: str) -> bool:
    """Whether this is a bias that the batch norm after it removes."""
    return ".edges." in name and name.endswith(".bias")
