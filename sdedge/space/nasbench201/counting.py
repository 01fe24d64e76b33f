"""Parameters and multiply-accumulates of the network of a cell of NAS-Bench-201."""

import torch

from sdedge.space.counting import Counts, count_network
from sdedge.space.nasbench201.cell import Nb201Cell
from sdedge.space.nasbench201.network import Nb201Network


def count_cell(
    cell: Nb201Cell,
    *,
    channels: int = 16,
    cells_per_stage: int = 5,
    classes: int = 10,
    image_size: int = 32,
) -> Counts:
    """Count the network of `cell`; edges that lead nowhere count too, as in the benchmark."""
    with torch.device("meta"):
        network = Nb201Network(
            cell, channels=channels, cells_per_stage=cells_per_stage, classes=classes
        )
    return count_network(network, image_size)
