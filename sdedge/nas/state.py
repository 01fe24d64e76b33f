"""What a strategy sees of a search: losses, gradients, alpha, and what changes with the epochs.

Nothing else: how the supernet is built, run and trained is for the loop to know.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from sdedge.nas.alphas import Alphas
from sdedge.nas.fixed_weights import FixedWeights
from sdedge.nas.scalars import ScheduledScalars
from sdedge.nas.tasks.task import TaskBatch, TaskLoss
from sdedge.space.space import SearchSpace
from sdedge.space.supernet import MixingWeights, SupernetOutput

# How good the supernet is under some mixing weights: the higher, the better.
Score = Callable[[MixingWeights], float]


class SearchState(Protocol):
    """A search at one step. `Bilevel` is the one that there is.

    The context managers put back what they change, also when the block raises.
    """

    @property
    def space(self) -> SearchSpace:
        """The search space."""

    @property
    def alphas(self) -> Alphas:
        """The architecture parameters, leaves that require a gradient."""

    @property
    def scalars(self) -> ScheduledScalars:
        """The scalars of the present epoch."""

    @property
    def fixed_weights(self) -> FixedWeights:
        """Mixing weights that hold whatever alpha says; to be fixed in place, for good.

        Empty unless the strategy has `on_epoch_end`.
        """

    @property
    def weight_lr(self) -> float | Tensor:
        """Learning rate of the weights of the supernet and the task."""

    @property
    def alpha_decay(self) -> float:
        """Weight decay of alpha, which the losses below leave out."""

    def mixing_weights(self) -> MixingWeights:
        """What the present alphas relax to, without a draw, and what is fixed."""

    def loss(self, batch: TaskBatch) -> TaskLoss:
        """The task's loss at the present weights and alphas; a pass of its own, with its draw."""

    def loss_with(self, batch: TaskBatch, weights: MixingWeights) -> TaskLoss:
        """The task's loss at the present weights and under these mixing weights."""

    def search_loss(self, batch: TaskBatch) -> Tensor:
        """What alpha descends: `loss`, and the penalties of the strategy."""

    def output_loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """The task's loss of what a network gave for `batch`."""

    def companion_output(self, batch: TaskBatch, weights: MixingWeights) -> SupernetOutput:
        """What the companion gives: the network that the weights derive to, with its own weights.

        There is one where the strategy has an `auxiliary_loss`.
        """

    def alpha_gradients(self, loss: Tensor, *, create_graph: bool = False) -> Sequence[Tensor]:
        """dloss/dalpha, one tensor for each of `alphas`."""

    def gradients(self, loss: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """dloss/dalpha, and dloss/dw for each weight; zeros where the loss depends on none."""

    def frozen_weights(self) -> AbstractContextManager[None]:
        """For a pass of which alpha's gradient alone is wanted: no weight requires one."""

    def one_step_ahead(self, train: TaskBatch) -> AbstractContextManager[None]:
        """The weights are where the next step of their optimizer on `train` would move them."""

    def displaced(self, displacement: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Each weight is moved by its displacement, as `gradients` lists them."""

    def evaluating(self) -> AbstractContextManager[None]:
        """The supernet evaluates: batch norm goes by, and keeps, its running statistics."""

    def plain(self) -> AbstractContextManager[None]:
        """The plain supernet runs: its operators have second derivatives, the fused ones none."""
