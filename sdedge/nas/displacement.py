"""Weights moved for the length of a block: frozen, displaced, one step of their optimizer ahead."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import SGD


@contextmanager
def frozen(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """No weight requires a gradient.

    A fused operator computes the gradients of all inputs that required one in its forward pass,
    whatever autograd is asked for.
    """
    learning = [weight for weight in weights if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_()


@contextmanager
def displaced(weights: Sequence[Tensor], displacement: Sequence[Tensor]) -> Iterator[None]:
    """Each weight is moved by its displacement, and put back to the bit at the end."""
    with torch.no_grad():
        origin = [weight.clone() for weight in weights]
        torch._foreach_add_(list(weights), list(displacement))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(weights), origin)


@torch.no_grad()
def next_step(optimizer: SGD, gradients: Sequence[Tensor]) -> list[Tensor]:
    """How far the next step of `optimizer` moves each of its weights, given their gradients.

    -lr * (momentum * buffer + gradient + decay * weight); gradients are not clipped.
    """
    group = optimizer.param_groups[0]
    lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    ahead = []
    for weight, gradient in zip(group["params"], gradients, strict=True):
        buffer = optimizer.state[weight].get("momentum_buffer")
        step = gradient + decay * weight
        ahead.append(-lr * (step if buffer is None else step + momentum * buffer))
    return ahead
