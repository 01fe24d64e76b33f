"""Parameters and multiply-accumulates of a derived network, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sdedge.genotype import Genotype
from sdedge.space.network import Network, Stem


@dataclass(frozen=True)
class Counts:
    """Size of a network; the auxiliary head is left out, as in the papers' tables."""

    params: int
    macs: int  # of convolutions and linear layers, for one image


def count_genotype(
    genotype: Genotype,
    *,
    channels: int = 36,
    cells: int = 20,
    classes: int = 10,
    stem: Stem = "cifar",
    image_size: int = 32,
) -> Counts:
    """Count the network that `genotype` makes at this width, depth and image size."""
    with torch.device("meta"):
        network = Network(genotype, channels=channels, cells=cells, classes=classes, stem=stem)
    return count_network(network, image_size)


def count_network(network: Network, image_size: int) -> Counts:
    """Count a network for square images of `image_size` pixels; it is left as it was."""
    macs = 0

    def add(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d | nn.Linear)
        # One output element costs one weight slice: in_channels/groups * kernel, or in_features.
        macs += output.numel() * module.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    training = network.training
    try:
        network.eval()
        device = network.classifier.weight.device
        with torch.no_grad():
            network(torch.empty(1, 3, image_size, image_size, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    params = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith("auxiliary.")
    )
    return Counts(params, macs)
