"""The bilevel step: alpha descends the loss on one half of the data, weights on the other.

DARTS, section 2.3 and algorithm 1; Semantic-DARTS, algorithm 1.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from sdedge.config import SearchConfig
from sdedge.graphs import rate_settings
from sdedge.meters import Meters
from sdedge.search.alphas import Alphas
from sdedge.search.budget import Budget
from sdedge.search.companion import Companion
from sdedge.search.strategy import Allowed, Strategy
from sdedge.search.tasks.task import Task, TaskBatch, TaskLoss
from sdedge.space.supernet import ActiveOperations, AnySupernet, MixingWeights

# In place of a mixing weight that is still alpha's to say.
UNDECIDED = -1.0


class Bilevel:
    """Supernet, task, architecture parameters, and the two optimizers that move them.

    `decided`, by cell type, has the mixing weights (edges, operations) that hold whatever alpha
    says, and UNDECIDED elsewhere; it is empty unless the strategy decides.
    """

    def __init__(
        self,
        supernet: AnySupernet,
        task: Task,
        alphas: dict[str, Tensor],
        strategy: Strategy,
        config: SearchConfig,
        budget: Budget | None = None,
        allowed: Allowed | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.supernet = supernet
        self.task = task
        self.alphas = alphas
        self.strategy = strategy
        self.budget = budget
        self.companion = companion
        self.modules: dict[str, nn.Module] = {"supernet": supernet, "task": task}
        if companion:
            self.modules["companion"] = companion
        self.allowed = allowed or {}
        self._active = {name: mask.tolist() for name, mask in self.allowed.items()} or None
        self.decided = {
            name: torch.full_like(alpha, UNDECIDED)
            for name, alpha in alphas.items()
            if strategy.decide and alpha.ndim == 2
        }
        self.alpha_list = list(alphas.values())
        self.weight_list = [p for module in self.modules.values() for p in module.parameters()]
        self.levels = {
            name: self.alpha_list[0].new_zeros(()).detach() for name in strategy.schedules
        }
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

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set the strategy's levels; in place, as a recorded step reads them where they are."""
        for name, level in self.levels.items():
            level.fill_(self.strategy.schedules[name](epoch, epochs))

    def usable(self, alphas: Alphas) -> Alphas:
        """Alphas, and -inf for operations that this stage does not have."""
        masked = {n: alphas[n].masked_fill(~mask, -torch.inf) for n, mask in self.allowed.items()}
        return {**alphas, **masked}

    def weights(self) -> MixingWeights:
        """What the present alphas relax to, and what was decided."""
        return self._settled(self.strategy.relax(self.usable(self.alphas)))

    def mixing(self, alphas: Alphas) -> MixingWeights:
        """The weights that one pass of the supernet mixes operations with."""
        usable = self.usable(alphas)
        if self.strategy.sample:
            return self._settled(self.strategy.sample(usable, self.levels))
        return self._settled(self.strategy.relax(usable))

    def _settled(self, weights: MixingWeights) -> MixingWeights:
        settled = {
            name: torch.where(decided == UNDECIDED, weights[name], decided)
            for name, decided in self.decided.items()
        }
        return {**weights, **settled}

    def carry_on(self, before: "Bilevel") -> None:
        """Take the weights and alphas of an earlier stage; both optimizers start anew."""
        for name, module in self.modules.items():
            module.load_state_dict(before.modules[name].state_dict())
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(before.alphas[name])

    def loss(self, batch: TaskBatch) -> TaskLoss:
        """The task's loss at the present weights and alphas."""
        return self.loss_with(batch, self.mixing(self.alphas))

    def loss_with(self, batch: TaskBatch, weights: MixingWeights) -> TaskLoss:
        """The task's loss at the present weights of the supernet and these mixing weights."""
        sparse = self.strategy.sparse
        output = self.supernet(
            batch.inputs,
            weights,
            nonzero(weights) if sparse else self._active,
            scalars=sparse,
            skip_dropout=self.levels.get("skip_dropout"),
            drop_path=self.levels.get("drop_path"),
        )
        loss = self.task.loss(output, batch)
        beside = self.strategy.beside
        if beside:
            loss = loss._replace(total=loss.total + beside(self, weights, output, batch))
        return loss

    def train(self, mode: bool = True) -> None:
        """Have all modules train, or evaluate."""
        for module in self.modules.values():
            module.train(mode)

    @torch.no_grad()
    def score(self, batches: Iterable[TaskBatch], weights: MixingWeights) -> float:
        """Accuracy under these mixing weights, or minus the loss where a task has no accuracy.

        Batch norm goes by the statistics of each batch, and keeps its running ones as they are.
        """
        modes = [module.training for module in self.modules.values()]
        buffers = [buffer for module in self.modules.values() for buffer in module.buffers()]
        before = [buffer.clone() for buffer in buffers]
        meters = Meters()
        self.train()
        for batch in batches:
            meters.add(self.loss_with(batch, weights).parts, weight=len(batch.labels))
        for module, mode in zip(self.modules.values(), modes, strict=True):
            module.train(mode)
        for buffer, kept in zip(buffers, before, strict=True):
            buffer.copy_(kept)
        means = meters.means()
        return means.get("accuracy", -means["loss"])

    def search_loss(self, batch: TaskBatch) -> Tensor:
        """What alpha descends: the task's loss and the strategy's penalties."""
        total = self.loss(batch).total
        for penalty in self.strategy.penalties:
            total = total + penalty(self.usable(self.alphas), self.levels)
        return total

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """For a pass of which alpha's gradient alone is wanted.

        A fused operator computes the gradients of all inputs that required one in its forward
        pass, whatever autograd is asked for.
        """
        learning = [weight for weight in self.weight_list if weight.requires_grad]
        for weight in learning:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in learning:
                weight.requires_grad_()

    def alpha_step(self, train: TaskBatch, search: TaskBatch) -> None:
        """Move alpha; the weights stay."""
        gradients = self.strategy.alpha_gradient(self, train, search)
        if self.budget:
            gradients = self.budget.weigh(gradients, self.weights(), self.alpha_list)
        for alpha, gradient in zip(self.alpha_list, gradients, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()

    def weight_step(self, train: TaskBatch) -> TaskLoss:
        """Move the weights of supernet and task; alpha stays."""
        self.weight_optimizer.zero_grad(set_to_none=True)
        # Detached, or the mixed sums would keep their inputs for a gradient that nobody reads.
        weights = self.mixing({name: alpha.detach() for name, alpha in self.alphas.items()})
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
