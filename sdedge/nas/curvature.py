"""How sharply the search loss bends in alpha: the largest eigenvalue of its Hessian."""

from collections.abc import Callable

import torch
from torch import Tensor

_LANCZOS_STEPS = 24


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, steps: int = _LANCZOS_STEPS
) -> float:
    """The largest eigenvalue of a symmetric matrix, from its products with vectors.

    Lanczos, every vector made orthogonal to all before it; exact after as many steps as `start`,
    which must not be zero, has elements.
    """
    basis = [start / start.norm()]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(steps, start.numel())):
        vector = product(basis[-1])
        diagonal.append(vector @ basis[-1])
        for _ in range(2):  # once leaves rounding errors behind, which grow
            for known in basis:
                vector = vector - (vector @ known) * known
        length = vector.norm()
        if length <= 1e-6 * torch.stack(diagonal).abs().max():
            break
        beside.append(length)
        basis.append(vector / length)
    off = torch.stack(beside[: len(diagonal) - 1]) if len(diagonal) > 1 else start.new_zeros(0)
    matrix = torch.diag(torch.stack(diagonal)) + torch.diag(off, 1) + torch.diag(off, -1)
    return float(torch.linalg.eigvalsh(matrix.double())[-1])
