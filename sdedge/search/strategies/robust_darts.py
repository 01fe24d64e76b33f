"""RobustDARTS: stop before the minimum gets sharp (Zela et al., 2020), https://arxiv.org/abs/1909.09656

The largest eigenvalue of the Hessian of the search loss in alpha rises before cells collapse
(section 4). Early stopping watches its moving average (section 4.3), and goes back to the cell from
before the rise; the other way is to regularise the weights more (section 5.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sdedge.search.bilevel import Bilevel
from sdedge.search.curvature import largest_eigenvalue
from sdedge.search.strategies.darts import DARTS
from sdedge.search.strategy import Record
from sdedge.search.tasks.task import TaskBatch

_EVERY = 2  # epochs
_WINDOW = 5  # measurements in the moving average
_LAG = 4  # measurements between the two that are compared
_RISE = 1.3
_FIRST = 10  # epoch in which the search may stop
_EIGENVALUE = "alpha_eigenvalue"


@torch.enable_grad()
def alpha_eigenvalue(bilevel: Bilevel, epoch: int, batch: TaskBatch) -> Mapping[str, float]:
    """The largest eigenvalue, of one batch, every other epoch; alpha's decay is part of the loss.

    The plain supernet computes it, as no fused operator has a second derivative.
    """
    if epoch % _EVERY:
        return {}
    alphas, supernet = bilevel.alpha_list, bilevel.supernet
    decay = bilevel.alpha_optimizer.param_groups[0]["weight_decay"]
    impl, supernet.impl = supernet.impl, "reference"
    with bilevel.frozen():
        slopes = torch.autograd.grad(bilevel.search_loss(batch), alphas, create_graph=True)
    supernet.impl = impl
    slope = torch.cat([s.flatten() for s in slopes])

    def product(vector: Tensor) -> Tensor:
        bent = torch.autograd.grad(slope @ vector, alphas, retain_graph=True)
        total: Tensor = torch.cat([b.flatten() for b in bent]) + decay * vector
        return total

    return {_EIGENVALUE: largest_eigenvalue(product, torch.randn_like(slope))}


def before_the_rise(records: Sequence[Record]) -> int | None:
    """Four measurements ago, once the moving average is 1.3 times what it was then."""
    measured = [r for r in records if _EIGENVALUE in r]
    if len(records) <= _FIRST or len(measured) <= _LAG or _EIGENVALUE not in records[-1]:
        return None
    values = [r[_EIGENVALUE] for r in measured]
    smooth = [_mean(values[max(0, i + 1 - _WINDOW) : i + 1]) for i in range(len(values))]
    if smooth[-1] <= _RISE * smooth[-1 - _LAG]:
        return None
    return int(measured[-1 - _LAG]["epoch"]) - 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


ROBUST_STOP = replace(
    DARTS,
    name="robust-es",
    summary="the search ends when the loss gets sharp in alpha, with the cell from before",
    paper="https://arxiv.org/abs/1909.09656",
    measure=alpha_eigenvalue,
    stop=before_the_rise,
)
ROBUST_L2 = replace(
    DARTS,
    name="robust-l2",
    summary="a nine-fold decay of the supernet's weights",
    paper="https://arxiv.org/abs/1909.09656",
    settings={"weight_decay": 27e-4},
)
