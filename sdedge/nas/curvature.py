"""How sharp the search loss is in alpha: the largest eigenvalue of its Hessian."""

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
    off_diagonal: list[Tensor] = []
    for _ in range(min(steps, start.numel())):
        vector = product(basis[-1])
        diagonal.append(vector @ basis[-1])
        for _ in range(2):  # once leaves rounding errors behind, which grow
            for earlier in basis:
                vector = vector - (vector @ earlier) * earlier
        length = vector.norm()
        if length <= 1e-6 * torch.stack(diagonal).abs().max():
            break
        off_diagonal.append(length)
        basis.append(vector / length)
    size = len(diagonal)
    off = torch.stack(off_diagonal[: size - 1]) if size > 1 else start.new_zeros(0)
    matrix = torch.diag(torch.stack(diagonal)) + torch.diag(off, 1) + torch.diag(off, -1)
    return float(torch.linalg.eigvalsh(matrix.double())[-1])
