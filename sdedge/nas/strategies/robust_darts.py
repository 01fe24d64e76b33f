"""RobustDARTS: keep the minimum flat (Zela et al., 2020), https://arxiv.org/abs/1909.09656

The largest eigenvalue of the Hessian of the search loss in alpha rises before cells collapse
(section 4). Early stopping watches its moving average (section 4.3), and ends with the cell from
before the rise; the adaptive form goes back there and decays the weights ten times as much (section
5.3). Two others regularise from the start: more decay (section 5.2), and drop path that grows
(section 5.1), where each operation but an identity skip drops images of its own; the authors' code
drops them from an edge's whole sum, and pairs it with cutout that grows, which is left out here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sdedge.nas.curvature import largest_eigenvalue
from sdedge.nas.scalars import DROP_PATH
from sdedge.nas.state import SearchState
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import Record, Strategy
from sdedge.nas.tasks.task import TaskBatch
from sdedge.nas.traits import Trait

_EVERY = 2  # epochs
_WINDOW = 5  # measurements in the moving average
_LAG = 4  # measurements between the two that are compared
_RISE = 1.3
_FIRST = 10  # epoch in which the search may stop
_EIGENVALUE = "alpha_eigenvalue"
_DROPPED = 0.2  # share of the samples at the end


@torch.enable_grad()
def alpha_eigenvalue(state: SearchState, epoch: int, batch: TaskBatch) -> Mapping[str, float]:
    """The largest eigenvalue, of one batch, every other epoch; alpha's decay is part of the loss.

    The plain supernet computes it, as no fused operator has a second derivative.
    """
    if epoch % _EVERY:
        return {}
    with state.plain(), state.frozen_weights():
        gradients = state.alpha_gradients(state.search_loss(batch), create_graph=True)
    gradient = torch.cat([g.flatten() for g in gradients])

    def hessian_vector_product(vector: Tensor) -> Tensor:
        products = torch.autograd.grad(
            gradient @ vector, list(state.alphas.values()), retain_graph=True
        )
        total: Tensor = torch.cat([p.flatten() for p in products]) + state.alpha_decay * vector
        return total

    return {_EIGENVALUE: largest_eigenvalue(hessian_vector_product, torch.randn_like(gradient))}


def before_the_rise(records: Sequence[Record]) -> int | None:
    """Four measurements ago, once the moving average is 1.3 times what it was then."""
    measured = [r for r in records if _EIGENVALUE in r]
    if records[-1]["epoch"] <= _FIRST or len(measured) <= _LAG or _EIGENVALUE not in records[-1]:
        return None
    values = [r[_EIGENVALUE] for r in measured]
    smooth = [_mean(values[max(0, i + 1 - _WINDOW) : i + 1]) for i in range(len(values))]
    if smooth[-1] <= _RISE * smooth[-1 - _LAG]:
        return None
    return int(measured[-1 - _LAG]["epoch"]) - 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _robust(name: str, summary: str) -> Strategy:
    return replace(DARTS, name=name, summary=summary, paper="https://arxiv.org/abs/1909.09656")


ROBUST_L2 = replace(
    _robust("robust-l2", "a nine-fold decay of the supernet's weights"),
    settings={"weight_decay": 27e-4},
)
ROBUST_DROP_PATH = replace(
    _robust("robust-dp", "operations drop whole images, more and more; identity skips do not"),
    traits=frozenset({Trait.RANDOM_PASSES}),
    schedules={DROP_PATH: lambda epoch, epochs: _DROPPED * epoch / max(1, epochs - 1)},
)
ROBUST_STOP = replace(
    _robust("robust-es", "the search ends when the loss gets sharp in alpha, with an earlier cell"),
    measure=alpha_eigenvalue,
    stop=before_the_rise,
)
ROBUST_ADAPTIVE = replace(
    _robust(
        "robust-ada",
        "restores an earlier epoch with 10x weight decay when the Hessian's largest eigenvalue "
        "rises",
    ),
    measure=alpha_eigenvalue,
    go_back=before_the_rise,
)
