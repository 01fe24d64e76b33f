"""Running means of what a phase logs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sdedge.checkpoint import under_prefix, with_prefix


class Meters:
    """Running means, kept on the device: only reading them waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0.0

    def add(self, values: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Add one observation of each value, a scalar tensor; `weight` is its batch size, say."""
        self._count += weight
        for name, value in values.items():
            weighted = value.detach().double() * weight
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def means(self) -> dict[str, float]:
        """The mean of each value so far."""
        return {name: float(total) / self._count for name, total in self._sums.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint."""
        count = torch.tensor(self._count, dtype=torch.float64)
        return {"count": count, **with_prefix("sum", self._sums)}

    def load(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Put back what `tensors` gave; ValueError for anything else."""
        if any(tensor.dim() or not tensor.is_floating_point() for tensor in tensors.values()):
            raise ValueError("running means are not scalars")
        self._count = float(tensors["count"])
        self._sums = {n: t.to(device) for n, t in under_prefix("sum", tensors).items()}
