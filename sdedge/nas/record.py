"""What a search logs of an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdedge.bounds import Natural, Share
from sdedge.genotype import Architecture
from sdedge.nas.alphas import RELATIVE, mixing_entropy, relative_entropy
from sdedge.run import Record
from sdedge.space.supernet import MixingWeights


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """What is logged, as far as it is read again."""

    genotype: dict[str, Any]
    skip_count: Natural
    valid_accuracy: Share | None = None  # some tasks have none
    alpha_eigenvalue: float | None = None  # RobustDARTS measures it, every other epoch


def describe(
    genotype: Architecture, weights: MixingWeights, validation: Mapping[str, float]
) -> dict[str, Any]:
    """The architecture as it stands, how far alpha has decided, and the means of a validation."""
    entropy, relative = mixing_entropy(weights), relative_entropy(weights)
    return {
        **{f"valid_{name}": value for name, value in validation.items()},
        "genotype": genotype.to_dict(),
        "skip_count": genotype.skip_count,
        "parameter_free_count": genotype.parameter_free_count,
        "collapsed": genotype.collapsed,
        **{f"alpha_entropy_{name}": value for name, value in entropy.items()},
        **{f"{RELATIVE}{name}": value for name, value in relative.items()},
    }
