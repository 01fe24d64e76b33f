"""CDARTS: search and evaluation teach each other (Yu et al., 2022), https://arxiv.org/abs/2006.10724

Beside the supernet learns the network that alpha derives to (the paper's evaluation network). Both
descend the task's loss, and the divergence of their class scores (eq. 5), by which alpha hears how
the derived network does. Skips and pools are held back at first by an L1 penalty on their alphas.
The paper gives the evaluation network a depth of its own and trains it on the search half; here it
is as deep as the supernet and learns from the training half.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.search.bilevel import Bilevel
from sdedge.search.strategies.darts import DARTS
from sdedge.search.tasks.task import TaskBatch
from sdedge.space.supernet import MixingWeights, SupernetOutput

_TEMPERATURE = 2.0
_FIRST_PENALTY = 5.0


def divergence(search: Tensor, evaluation: Tensor) -> Tensor:
    """T^2 KL(search || evaluation) of class scores (N, classes), softened by the temperature T."""
    p, q = ((scores / _TEMPERATURE).log_softmax(dim=1) for scores in (search, evaluation))
    return _TEMPERATURE**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)


def taught(
    bilevel: Bilevel, weights: MixingWeights, output: SupernetOutput, batch: TaskBatch
) -> Tensor:
    """What is added to the loss of the supernet's output (eq. 6)."""
    companion = bilevel.companion
    if companion is None:
        raise TypeError("CDARTS needs an evaluation network")
    evaluation = companion(batch.inputs, weights)
    total = bilevel.task.loss(evaluation, batch).total
    total = total + divergence(output.logits, evaluation.logits)
    if not any(matrix.requires_grad for matrix in weights.values()):
        return total  # the step of the weights, which the penalty does not concern
    free = companion.space.parameter_free
    sizes = [bilevel.alphas[name][:, free].abs().sum(dim=1).mean() for name in weights]
    return total + bilevel.levels["held_back"] * torch.stack(sizes).mean()


CDARTS = replace(
    DARTS,
    name="cdarts",
    summary="the derived network learns beside the supernet, and each teaches the other",
    paper="https://arxiv.org/abs/2006.10724",
    settings={"batch_size": 128, "weight_lr": 0.05, "alpha_lr": 6e-4},
    excludes={
        **dict.fromkeys(("gdas", "snas"), "its network would be that of a draw"),
        **dict.fromkeys(("pc-darts", "adarts"), "its derived network has no partial channels"),
        **dict.fromkeys(("sdarts-rs", "sdarts-adv"), "its network would be of perturbed weights"),
        "darts-minus": "its derived network has no auxiliary skip",
        "darts-2nd": "a step ahead would be one of two networks",
        "dots": "its topology search has mixing weights of another kind",
    },
    schedules={"held_back": lambda epoch, epochs: _FIRST_PENALTY * (1 - epoch / epochs)},
    beside=taught,
)
