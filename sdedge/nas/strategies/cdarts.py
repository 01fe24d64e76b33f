"""CDARTS: search and evaluation teach each other (Yu et al., 2022), https://arxiv.org/abs/2006.10724

The network that alpha derives to, the paper's evaluation network, trains with the supernet. Both
descend the task's loss, and the divergence of their class scores (eq. 5), by which alpha hears how
the derived network does. Skips and pools are held back at first by an L1 penalty on their alphas.
The paper gives the evaluation network a depth of its own and trains it on the search half; here it
is as deep as the supernet and learns from the training half.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.nas.scalars import ScheduledScalar
from sdedge.nas.state import SearchState
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.tasks.task import TaskBatch
from sdedge.nas.traits import Trait
from sdedge.space.supernet import MixingWeights, SupernetOutput

_TEMPERATURE = 2.0
_FIRST_PENALTY = 5.0
HELD_BACK = ScheduledScalar("held_back")  # weight of the L1 penalty


def divergence(search: Tensor, evaluation: Tensor) -> Tensor:
    """T^2 KL(search || evaluation) of class scores (N, classes), softened by the temperature T."""
    p, q = ((scores / _TEMPERATURE).log_softmax(dim=1) for scores in (search, evaluation))
    return _TEMPERATURE**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)


def evaluation_loss(
    state: SearchState, weights: MixingWeights, output: SupernetOutput, batch: TaskBatch
) -> Tensor:
    """The evaluation network's loss and its divergence from the supernet's output (eq. 6)."""
    evaluation = state.companion_output(batch, weights)
    total = state.output_loss(evaluation, batch).total
    total = total + divergence(output.logits, evaluation.logits)
    if not any(matrix.requires_grad for matrix in weights.values()):
        return total  # the step of the weights, which the penalty does not concern
    free = state.space.parameter_free
    sizes = [state.alphas[name][:, free].abs().sum(dim=1).mean() for name in weights]
    return total + state.scalars[HELD_BACK] * torch.stack(sizes).mean()


CDARTS = replace(
    DARTS,
    name="cdarts",
    summary="the derived network trains with the supernet, and each teaches the other",
    paper="https://arxiv.org/abs/2006.10724",
    settings={"batch_size": 128, "weight_lr": 0.05, "alpha_lr": 6e-4},
    conflicts={
        Trait.DRAWN_WEIGHTS: "its network would be that of a draw",
        Trait.PARTIAL_CHANNELS: "its derived network has no partial channels",
        Trait.PERTURBED_WEIGHTS: "its network would be of perturbed weights",
        Trait.EXTRA_OPERATIONS: "its derived network has the operations of the space alone",
        Trait.SECOND_ORDER: "a step ahead would be one of two networks",
        Trait.EDGE_WEIGHTS: "its derived network has no edge weights",
    },
    schedules={HELD_BACK: lambda epoch, epochs: _FIRST_PENALTY * (1 - epoch / epochs)},
    auxiliary_loss=evaluation_loss,
)
