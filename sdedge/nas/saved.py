"""The tensors of a bilevel search in a checkpoint: out of it, and back into it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sdedge.checkpoint import (
    load_module,
    load_optimizer_tensors,
    optimizer_tensors,
    under_prefix,
    with_prefix,
)
from sdedge.errors import RunError
from sdedge.nas.bilevel import Bilevel


def tensors_of(bilevel: Bilevel) -> dict[str, Tensor]:
    """Weights, alphas and what is fixed, both optimizers, and the multipliers of a budget."""
    modules: dict[str, Tensor] = {}
    for name, module in bilevel.modules.items():
        modules |= with_prefix(name, module.state_dict())
    return {
        **modules,
        **with_prefix("alpha", bilevel.alphas),
        **with_prefix("fixed_weights", bilevel.fixed_weights),
        **with_prefix("budget", bilevel.budget.state_dict() if bilevel.budget else {}),
        **with_prefix("weight_optimizer", optimizer_tensors(bilevel.weight_optimizer)),
        **with_prefix("alpha_optimizer", optimizer_tensors(bilevel.alpha_optimizer)),
    }


def put_back(bilevel: Bilevel, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put back what `tensors_of` gave; RunError, naming the file, for what does not fit."""
    for name, module in bilevel.modules.items():
        load_module(module, under_prefix(name, tensors), path)
    if bilevel.budget:
        load_module(bilevel.budget, under_prefix("budget", tensors), path)
    for name, own in (("alpha", bilevel.alphas), ("fixed_weights", bilevel.fixed_weights)):
        saved = under_prefix(name, tensors)
        if {n: t.shape for n, t in saved.items()} != {n: t.shape for n, t in own.items()}:
            raise RunError(
                f"{path} holds other architecture parameters than {bilevel.strategy.name}"
            )
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(saved[key])
    load_optimizer_tensors(
        bilevel.weight_optimizer, under_prefix("weight_optimizer", tensors), path
    )
    load_optimizer_tensors(bilevel.alpha_optimizer, under_prefix("alpha_optimizer", tensors), path)
