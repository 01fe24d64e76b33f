"""A second network that trains with the supernet: the one that alpha derives to."""

import torch
from torch import Tensor, nn

from sdedge.space.space import SearchSpace
from sdedge.space.supernet import AnySupernet, MixingWeights, SupernetOutput


class Companion(nn.Module):
    """The derived network, with weights of its own for every operation that may be derived.

    So an architecture that comes back finds its weights as it left them, and the network is as
    wide and deep as the supernet.
    """

    def __init__(self, network: AnySupernet, space: SearchSpace) -> None:
        super().__init__()
        self.network = network
        self.space = space

    def forward(self, inputs: Tensor, weights: MixingWeights) -> SupernetOutput:
        """inputs: (N, 3, H, W); weights: of the supernet, whose architecture is derived."""
        kept = one_hot(self.space, weights)
        active = {name: matrix.bool().tolist() for name, matrix in kept.items()}
        output: SupernetOutput = self.network(inputs, kept, active)
        return output


@torch.no_grad()
def one_hot(space: SearchSpace, weights: MixingWeights) -> dict[str, Tensor]:
    """Mixing weights of the derived architecture: 1 for the operations that it keeps, else 0."""
    places = space.places(space.derive(weights))
    kept = {name: torch.zeros_like(matrix) for name, matrix in weights.items()}
    for name, edge, operation in places:
        kept[name][edge, operation] = 1
    return kept
