"""Parameters and multiply-accumulates of the network of a genotype."""

import torch

from sdedge.bounds import Stem
from sdedge.genotype import Genotype
from sdedge.space.counting import Counts, count_network
from sdedge.space.darts.network import Network


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
