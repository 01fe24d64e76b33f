"""Exponential moving average of weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sdedge.errors import RunError


class Ema:
    """A shadow of a module's state: shadow = decay * shadow + (1 - decay) * weights.

    The decay grows from 2/11 with the number of updates, so that early averages are not held back
    by the random start (as in TensorFlow's ExponentialMovingAverage). Buffers, batch norm's
    statistics among them, are averaged too; integer buffers are copied. torch's AveragedModel gives
    the same bits at several times the cost.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        state = module.state_dict()
        self._live = list(state.values())
        self._names = list(state)
        self._shadow = [tensor.clone() for tensor in self._live]
        self._floats, self._integers = _by_kind(self._shadow)
        self._live_floats, self._live_integers = _by_kind(self._live)

    @torch.no_grad()
    def update(self) -> None:
        """Move the shadow towards the present weights."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._floats, self._live_floats, 1 - decay)
        if self._integers:
            torch._foreach_copy_(self._integers, self._live_integers)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange shadow and weights; a second call puts both back."""
        for shadow, live in zip(self._shadow, self._live, strict=True):
            held = live.clone()
            live.copy_(shadow)
            shadow.copy_(held)

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint."""
        return {
            "updates": torch.tensor(self._updates),
            **dict(zip(self._names, self._shadow, strict=True)),
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `tensors` gave; RunError naming `path` when something is missing."""
        if missing := {"updates", *self._names} - tensors.keys():
            raise RunError(f"{path} lacks averaged weights: {', '.join(sorted(missing)[:3])}")
        if tensors["updates"].dim() or any(
            (tensors[name].shape, tensors[name].dtype) != (shadow.shape, shadow.dtype)
            for name, shadow in zip(self._names, self._shadow, strict=True)
        ):
            raise RunError(f"{path} holds averaged weights of another shape or type")
        self._updates = int(tensors["updates"])
        for name, shadow in zip(self._names, self._shadow, strict=True):
            shadow.copy_(tensors[name])


def _by_kind(tensors: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Floating tensors, and the others."""
    floats: list[Tensor] = []
    others: list[Tensor] = []
    for tensor in tensors:
        (floats if tensor.is_floating_point() else others).append(tensor)
    return floats, others
