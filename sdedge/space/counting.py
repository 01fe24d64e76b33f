"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Counts:
    """Size of a network; the auxiliary head is left out, as in the papers' tables."""

    params: int
    macs: int  # of convolutions and linear layers, for one image


def count_network(network: nn.Module, image_size: int) -> Counts:
    """Count a network for square images of `image_size` pixels; it is left as it was."""
    device = next(network.parameters()).device
    image = torch.empty(1, 3, image_size, image_size, device=device)
    training = network.training
    counter = _Counter()
    try:
        network.eval()
        with torch.no_grad(), counter:
            network(image)
    finally:
        network.train(training)
    params = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith("auxiliary.")
    )
    return Counts(params, counter.macs)


class _Counter(TorchFunctionMode):
    """Adds up multiply-accumulates; what changes no shape is passed over, as it costs most time."""

    macs = 0

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function in (F.batch_norm, F.relu, Tensor.add):
            return args[0]
        output = function(*args, **(kwargs or {}))
        if function in (F.conv2d, F.linear):
            # One output element costs one slice of the weight: in_channels/groups * kernel area.
            self.macs += output.numel() * args[1][0].numel()
        return output
