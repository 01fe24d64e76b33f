"""The bilevel step: alpha descends the loss on one half of the data, weights on the other.

DARTS, section 2.3 and algorithm 1; Semantic-DARTS, algorithm 1.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from sdedge.config import SearchConfig
from sdedge.graphs import rate_settings
from sdedge.meters import Meters
from sdedge.nas.alphas import Alphas
from sdedge.nas.budget import Budget
from sdedge.nas.companion import Companion
from sdedge.nas.displacement import displaced, frozen, next_step
from sdedge.nas.fixed_weights import apply_fixed, nothing_fixed
from sdedge.nas.scalars import DROP_PATH, SKIP_DROPOUT, ScheduledScalars
from sdedge.nas.strategy import OperationMask, Strategy
from sdedge.nas.tasks.task import Task, TaskBatch, TaskLoss
from sdedge.space.spaces import get_space
from sdedge.space.supernet import ActiveOperations, AnySupernet, MixingWeights, SupernetOutput


class Bilevel:
    """Supernet, task, architecture parameters, and the two optimizers that move them.

    It is the `SearchState` that a strategy sees.
    """

    def __init__(
        self,
        supernet: AnySupernet,
        task: Task,
        alphas: dict[str, Tensor],
        strategy: Strategy,
        config: SearchConfig,
        budget: Budget | None = None,
        operation_mask: OperationMask | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.space = get_space(config.space, config.operations)
        self.supernet = supernet
        self.task = task
        self.alphas = alphas
        self.strategy = strategy
        self.budget = budget
        self.companion = companion
        self.modules: dict[str, nn.Module] = {"supernet": supernet, "task": task}
        if companion:
            self.modules["companion"] = companion
        self.operation_mask = operation_mask or {}
        self._active = {name: mask.tolist() for name, mask in self.operation_mask.items()} or None
        self.fixed_weights = nothing_fixed(alphas) if strategy.on_epoch_end else {}
        self.alpha_list = list(alphas.values())
        self.weight_list = [p for module in self.modules.values() for p in module.parameters()]
        self.scalars = ScheduledScalars.zeros(strategy.schedules, self.alpha_list[0])
        self.begin_epoch(0, config.epochs)
        self.gradient_clip = config.gradient_clip
        device = self.weight_list[0].device
        self.weight_optimizer = SGD(
            self.weight_list,
            **rate_settings(device, config.weight_lr),
            momentum=config.weight_momentum,
            weight_decay=config.weight_decay,
        )
        self.alpha_optimizer = Adam(
            self.alpha_list,
            **rate_settings(device, config.alpha_lr),
            betas=config.alpha_betas,
            weight_decay=config.alpha_decay,
            capturable=config.cuda_graphs,
        )

    @property
    def weight_lr(self) -> float | Tensor:
        """Learning rate of the weights of the supernet and the task."""
        rate: float | Tensor = self.weight_optimizer.param_groups[0]["lr"]
        return rate

    @property
    def alpha_decay(self) -> float:
        """Weight decay of alpha."""
        return float(self.alpha_optimizer.param_groups[0]["weight_decay"])

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set the strategy's scalars; in place, as a recorded step reads them where they are."""
        self.scalars.set(self.strategy.schedules, epoch, epochs)

    def masked_alphas(self, alphas: Alphas) -> Alphas:
        """Alphas, and -inf for operations that this stage does not have."""
        mask = self.operation_mask
        return {**alphas, **{n: alphas[n].masked_fill(~m, -torch.inf) for n, m in mask.items()}}

    def mixing_weights(self) -> MixingWeights:
        """What the present alphas relax to, and what is fixed."""
        relaxed = self.strategy.relax(self.masked_alphas(self.alphas))
        return apply_fixed(relaxed, self.fixed_weights)

    def pass_weights(self, alphas: Alphas) -> MixingWeights:
        """The weights that one pass of the supernet mixes operations with."""
        masked = self.masked_alphas(alphas)
        if self.strategy.sample:
            return apply_fixed(self.strategy.sample(masked, self.scalars), self.fixed_weights)
        return apply_fixed(self.strategy.relax(masked), self.fixed_weights)

    def carry_on(self, before: "Bilevel") -> None:
        """Take the weights and alphas of an earlier stage; both optimizers start afresh."""
        for name, module in self.modules.items():
            module.load_state_dict(before.modules[name].state_dict())
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(before.alphas[name])

    def loss(self, batch: TaskBatch) -> TaskLoss:
        """The task's loss at the present weights and alphas."""
        return self.loss_with(batch, self.pass_weights(self.alphas))

    def loss_with(self, batch: TaskBatch, weights: MixingWeights) -> TaskLoss:
        """The task's loss at the present weights of the supernet and these mixing weights."""
        sparse = self.strategy.sparse
        output = self.supernet(
            batch.inputs,
            weights,
            nonzero(weights) if sparse else self._active,
            keep_zero_weight_grad=sparse,
            skip_dropout=self.scalars.get(SKIP_DROPOUT),
            drop_path=self.scalars.get(DROP_PATH),
        )
        loss = self.output_loss(output, batch)
        auxiliary = self.strategy.auxiliary_loss
        if auxiliary:
            loss = loss._replace(total=loss.total + auxiliary(self, weights, output, batch))
        return loss

    def output_loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """The task's loss of what a network gave for `batch`."""
        return self.task.loss(output, batch)

    def companion_output(self, batch: TaskBatch, weights: MixingWeights) -> SupernetOutput:
        """What the network that these mixing weights derive to gives, with weights of its own."""
        if self.companion is None:
            raise TypeError(f"strategy {self.strategy.name} has no auxiliary loss, so no companion")
        output: SupernetOutput = self.companion(batch.inputs, weights)
        return output

    def search_loss(self, batch: TaskBatch) -> Tensor:
        """What alpha descends: the task's loss and the strategy's penalties."""
        total = self.loss(batch).total
        for penalty in self.strategy.penalties:
            total = total + penalty(self.masked_alphas(self.alphas), self.scalars)
        return total

    def alpha_gradients(self, loss: Tensor, *, create_graph: bool = False) -> Sequence[Tensor]:
        """dloss/dalpha, one tensor for each of `alphas`."""
        return torch.autograd.grad(loss, self.alpha_list, create_graph=create_graph)

    def gradients(self, loss: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """dloss/dalpha, and dloss/dw for each weight; zeros where the loss depends on none."""
        everything = [*self.alpha_list, *self.weight_list]
        both = torch.autograd.grad(loss, everything, allow_unused=True, materialize_grads=True)
        count = len(self.alpha_list)
        return both[:count], both[count:]

    def frozen_weights(self) -> AbstractContextManager[None]:
        """For a pass of which alpha's gradient alone is wanted: no weight requires one."""
        return frozen(self.weight_list)

    def displaced(self, displacement: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Each weight is moved by its displacement, and put back to the bit at the end."""
        return displaced(self.weight_list, displacement)

    def one_step_ahead(self, train: TaskBatch) -> AbstractContextManager[None]:
        """The weights are where the next step of their optimizer on `train` would move them."""
        gradients = torch.autograd.grad(
            self.loss(train).total, self.weight_list, allow_unused=True, materialize_grads=True
        )
        return self.displaced(next_step(self.weight_optimizer, gradients))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The supernet evaluates: batch norm goes by, and keeps, its running statistics."""
        training = self.supernet.training
        self.supernet.eval()
        try:
            yield
        finally:
            self.supernet.train(training)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """The plain supernet runs: its operators have second derivatives, the fused ones none."""
        impl, self.supernet.impl = self.supernet.impl, "reference"
        try:
            yield
        finally:
            self.supernet.impl = impl

    def train(self, mode: bool = True) -> None:
        """Have all modules train, or evaluate."""
        for module in self.modules.values():
            module.train(mode)

    @torch.no_grad()
    def score(self, batches: Iterable[TaskBatch], weights: MixingWeights) -> float:
        """Accuracy under these mixing weights, or minus the loss where a task has no accuracy.

        Batch norm goes by the statistics of each batch, and keeps its running ones as they are.
        """
        meters = Meters()
        with self._batch_statistics():
            for batch in batches:
                meters.add(self.loss_with(batch, weights).parts, weight=len(batch.labels))
        means = meters.means()
        return means.get("accuracy", -means["loss"])

    @contextmanager
    def _batch_statistics(self) -> Iterator[None]:
        """All modules train; their modes and buffers are put back."""
        modes = [module.training for module in self.modules.values()]
        buffers = [buffer for module in self.modules.values() for buffer in module.buffers()]
        before = [buffer.clone() for buffer in buffers]
        self.train()
        try:
            yield
        finally:
            for module, mode in zip(self.modules.values(), modes, strict=True):
                module.train(mode)
            for buffer, kept in zip(buffers, before, strict=True):
                buffer.copy_(kept)

    def alpha_step(self, train: TaskBatch, search: TaskBatch) -> None:
        """Move alpha; the weights stay."""
        gradients = self.strategy.alpha_gradient(self, train, search)
        if self.budget:
            gradients = self.budget.weigh(gradients, self.mixing_weights(), self.alpha_list)
        for alpha, gradient in zip(self.alpha_list, gradients, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()

    def weight_step(self, train: TaskBatch) -> TaskLoss:
        """Move the weights of supernet and task; alpha stays."""
        self.weight_optimizer.zero_grad(set_to_none=True)
        # Detached, or the mixed sums would keep their inputs for a gradient that is never read.
        weights = self.pass_weights({name: alpha.detach() for name, alpha in self.alphas.items()})
        if self.strategy.perturb:
            weights = self.strategy.perturb(self, weights, train)
        loss = self.loss_with(train, weights)
        loss.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weight_list, self.gradient_clip)
        self.weight_optimizer.step()
        return loss._replace(total=loss.total.detach())


def nonzero(weights: MixingWeights) -> ActiveOperations:
    """The operations whose mixing weight is not zero."""
    return {name: matrix.detach().ne(0).tolist() for name, matrix in weights.items()}
