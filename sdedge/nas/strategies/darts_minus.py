"""DARTS-: an auxiliary skip that fades (Chu et al., 2021), https://arxiv.org/abs/2009.01027

Each edge adds its input, times a factor that falls from 1 to 0, to what its operations make (eq.
6): skips need not win any more for gradients to flow. At stride 2 it is a factorised reduction.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sdedge import operations
from sdedge.nas.alphas import Alphas
from sdedge.nas.scalars import ScheduledScalar, ScheduledScalars
from sdedge.nas.strategies.darts import DARTS, softmax_relaxation
from sdedge.nas.traits import Trait

AUXILIARY_SKIP = ScheduledScalar(operations.AUXILIARY_SKIP)  # the factor


def with_auxiliary_skip(alphas: Alphas, scalars: ScheduledScalars) -> dict[str, Tensor]:
    """DARTS's mixing weights, and one for the auxiliary skip of each edge: one column more."""
    return {
        name: torch.cat((w, scalars[AUXILIARY_SKIP].expand(w.shape[0], 1)), dim=1)
        for name, w in softmax_relaxation(alphas).items()
    }


DARTS_MINUS = replace(
    DARTS,
    name="darts-minus",
    summary="an auxiliary skip on every edge, which fades from 1 to 0",
    paper="https://arxiv.org/abs/2009.01027",
    conflicts={Trait.OWN_RELAXATION: "its operations are weighed by a softmax"},
    extra_operations=(operations.AUXILIARY_SKIP,),
    schedules={AUXILIARY_SKIP: lambda epoch, epochs: 1 - epoch / max(1, epochs - 1)},
    sample=with_auxiliary_skip,
)
