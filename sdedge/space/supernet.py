"""What every supernet takes and gives, whichever its space."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from sdedge.kernels import Impl

# Cell type -> (edges, operations) mixing weights.
MixingWeights = Mapping[str, Tensor]
# Of one cell type, edges x operations: whether an operation is computed at all.
Active = Sequence[Sequence[bool]]
# Cell type -> that.
ActiveOperations = Mapping[str, Active]


class SupernetOutput(NamedTuple):
    """What one pass gives: class scores and the features that they were read from."""

    logits: Tensor  # (N, classes)
    features: Tensor  # (N, feature_channels, H/4, W/4), the last cell's output


class AnySupernet(nn.Module):
    """A supernet of any space. It takes the mixing weights as an input."""

    impl: Impl
    feature_channels: int
    classifier: nn.Linear

    def forward(
        self,
        x: Tensor,
        weights: MixingWeights,
        active: ActiveOperations | None = None,
        *,
        keep_zero_weight_grad: bool = False,
        skip_dropout: Tensor | None = None,
        drop_path: Tensor | None = None,
    ) -> SupernetOutput:
        """Score normalised images.

        Args:
            x: (N, 3, H, W).
            weights: one matrix a cell type.
            active: which operations to compute; None: all. The others count as zero, and their
                weights get no gradient.
            keep_zero_weight_grad: add every weight that is zero to its node all the same, so that
                it gets the gradient of a scalar (GDAS); a node may then have no active operation.
            skip_dropout: share of the values of an identity skip that are dropped in training.
            drop_path: share of the samples that each other operation drops in training; the plain
                supernet runs then, as a fused sum normalises what it should drop.
        """
        raise NotImplementedError
