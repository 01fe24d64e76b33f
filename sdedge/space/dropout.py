"""What a training pass drops of an operation's output, in every space."""

import torch
from torch import Tensor, nn


def output_of(
    operation: nn.Module, x: Tensor, skip_dropout: Tensor | None, drop_path: Tensor | None
) -> Tensor:
    """operation(x), less what a training pass drops of it, as shares; None: nothing.

    skip_dropout: of the values of an identity skip; drop_path: of the samples of any other.
    """
    y: Tensor = operation(x)
    if isinstance(operation, nn.Identity):
        return dropped(y, skip_dropout)
    if drop_path is None:
        return y
    kept = torch.rand_like(y[:, :1, :1, :1]) >= drop_path
    return y * (kept / (1 - drop_path)).to(y.dtype)


def dropped(x: Tensor, share: Tensor | None) -> Tensor:
    """Dropout whose share of zeros is a tensor, as a recorded step needs; None: x as it is."""
    if share is None:
        return x
    return x * (torch.rand_like(x) >= share) / (1 - share)
