"""Operations of the supernet of NAS-Bench-201 in their fused forms.

A form is a function from a module and the source that it reads to what it makes: raw values with
the statistics to normalise them with, or values as they are. What several edges that leave a source
need is computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.kernels.batch_norm import batch_statistics
from sdedge.space.dropout import dropped
from sdedge.space.statistics import RunningStatistics


@dataclass(frozen=True)
class SharedInputs:
    """What operations on the edges that leave a source read."""

    x: Tensor  # (N, C, H, W)
    running: RunningStatistics
    skip_dropout: Tensor | None

    @cached_property
    def rectified(self) -> Tensor:
        """relu(x)."""
        return F.relu(self.x)

    @cached_property
    def averaged(self) -> Tensor:
        """3x3 average pooling of x over the pixels inside the image."""
        return F.avg_pool2d(self.x, 3, stride=1, padding=1, count_include_pad=False)


Output = tuple[Tensor, Tensor | None]
Form = Callable[[nn.Module, SharedInputs], Output]


def skip(module: nn.Module, source: SharedInputs) -> Output:
    """The source itself."""
    return dropped(source.x, source.skip_dropout), None


def average_pool(module: nn.Module, source: SharedInputs) -> Output:
    """The average pooling that edges share."""
    return source.averaged, None


def convolution(module: nn.Module, source: SharedInputs) -> Output:
    """A convolution of the rectified source, and the statistics of its batch norm.

    Batch norm takes the bias out, so in training the bias is not added, and gets no gradient, as
    its gradient is zero; the running mean still counts it, and out of training it is added.
    """
    _, convolution, norm = module.children()
    weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
    padding = weight.shape[-1] // 2
    if not source.running.training:
        values = F.conv2d(source.rectified, weight, bias, padding=padding)
        return values, source.running.of([norm], [], values)[0]
    values = F.conv2d(source.rectified, weight, padding=padding)
    batch = batch_statistics(values)
    with_bias = batch + F.pad(bias.detach()[None], (0, 0, 0, 1))  # on the mean alone
    source.running.of([norm], [with_bias], values)
    return values, batch
