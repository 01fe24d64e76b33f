"""beta-DARTS: beta-decay regularisation (Ye et al., 2022), https://arxiv.org/abs/2203.01665

Alpha also descends the mean over edges of logsumexp(alpha), whose gradient is the softmax: it pulls
all mixing weights together, more and more as the search proceeds (eq. 13 and section 3.4).
"""

from dataclasses import replace

from torch import Tensor

from sdedge.nas.alphas import Alphas, edge_rows
from sdedge.nas.scalars import ScheduledScalar, ScheduledScalars
from sdedge.nas.strategies.darts import DARTS

BETA_DECAY = ScheduledScalar("beta_decay")  # weight of the penalty
_MAX_WEIGHT = 50.0  # at the end


def beta_decay(alphas: Alphas, scalars: ScheduledScalars) -> Tensor:
    """The penalty, averaged over the edges of all cell types."""
    return scalars[BETA_DECAY] * edge_rows(alphas).logsumexp(dim=1).mean()


BETA_DARTS = replace(
    DARTS,
    name="beta",
    summary="a penalty that grows holds the mixing weights of an edge together",
    paper="https://arxiv.org/abs/2203.01665",
    schedules={BETA_DECAY: lambda epoch, epochs: _MAX_WEIGHT * epoch / epochs},
    penalties=(beta_decay,),
)
