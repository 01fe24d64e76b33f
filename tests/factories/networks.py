"""Small networks, as if trained, with their descriptions, and images to run them on."""

import numpy as np
import torch
from torch import nn

from sdedge.bounds import Mean, Std, Stem
from sdedge.data.dataset import Split
from sdedge.genotype import Genotype, published
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription

SEMANTIC = "SemanticDARTS_C10_p8r0.6_seed9999"


def describe(
    genotype: Genotype | str,
    *,
    channels: int = 4,
    cells: int = 3,
    stem: Stem = "cifar",
    classes: int | tuple[str, ...] = 5,
    image_size: int = 16,
    mean: Mean = (0.49, 0.48, 0.45),
    std: Std = (0.25, 0.24, 0.26),
    dataset: str = "shapes",
) -> NetworkDescription:
    """A network of that genotype, or of the published one of that name."""
    if isinstance(genotype, str):
        genotype = published()[genotype].genotype
    if isinstance(classes, int):
        classes = tuple(f"class {index}" for index in range(classes))
    return NetworkDescription(
        genotype=genotype,
        channels=channels,
        cells=cells,
        stem=stem,
        classes=classes,
        image_size=image_size,
        mean=mean,
        std=std,
        dataset=dataset,
    )


def trained(description: NetworkDescription) -> Network:
    """A network whose batch norms are nothing like the identity they start as."""
    torch.manual_seed(1)
    network = description.build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 1e-3, 2.0)  # so small that eps counts
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
    return network


def random_split(images: int = 12, image_size: int = 16, classes: int = 5) -> Split:
    generator = np.random.default_rng(0)
    return Split(
        generator.integers(0, 256, (images, image_size, image_size, 3), dtype=np.uint8),
        generator.integers(0, classes, images),
    )
