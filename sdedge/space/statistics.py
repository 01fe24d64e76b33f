"""Running statistics of batch norms whose arithmetic happens elsewhere."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdedge.errors import KernelError

_MOMENTUM = 0.1  # of nn.BatchNorm2d


class RunningStatistics:
    """Hands out the statistics to normalise with, and moves the running ones at the end of a pass.

    In training those of the batch, else the running ones, as nn.BatchNorm2d does. All buffers move
    in a few grouped operations, not two a batch norm.
    """

    def __init__(self, *, training: bool) -> None:
        self.training = training
        self._norms: list[nn.Module] = []
        self._batch: list[Tensor] = []
        self._unbiased: list[float] = []

    def of(
        self, norms: Sequence[nn.Module], batch: Sequence[Tensor], values: Tensor
    ) -> list[Tensor]:
        """Statistics (2, C) for each batch norm: `batch`, of `values`, or the running ones."""
        if not self.training:
            return [
                torch.stack((norm.get_buffer("running_mean"), norm.get_buffer("running_var")))
                for norm in norms
            ]
        count = values.numel() // values.shape[1]
        if count < 2:
            raise KernelError(
                f"batch norm needs 2 values a channel in training; a map is {tuple(values.shape)}"
            )
        self._norms.extend(norms)
        self._batch.extend(batch)
        self._unbiased.extend([count / (count - 1)] * len(norms))
        return list(batch)

    @torch.no_grad()
    def update(self) -> None:
        """Move the running statistics of all norms seen towards those of the batch."""
        if not self._norms:
            return
        means, variances, counters = (
            [norm.get_buffer(name) for norm in self._norms]
            for name in ("running_mean", "running_var", "num_batches_tracked")
        )
        batch = [statistics.to(means[0].dtype) for statistics in self._batch]
        unbiased = torch._foreach_mul([statistics[1] for statistics in batch], self._unbiased)
        torch._foreach_lerp_(means, [statistics[0] for statistics in batch], _MOMENTUM)
        torch._foreach_lerp_(variances, unbiased, _MOMENTUM)
        torch._foreach_add_(counters, 1)
