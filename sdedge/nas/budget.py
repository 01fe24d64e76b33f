"""A budget in the search: what the derived network will cost, and how hard that weighs on alpha.

The costs are of the network that is to be built, not of the supernet, and linear in its operations:
a fixed part, and a price for each operation by where it stands. They come as plain numbers; what
they are costs of, and on which device, is no business of the search.

Two readings of one table do two jobs. The cost of the cell that the present alphas derive to says
whether a limit is met, and moves its multiplier (dual ascent). The expected cost is differentiable
and says which way is cheaper; while alpha is flat it is far from the derived cell's, so it judges
nothing. Both are shares of the limit, and the gradient of the expected cost is scaled to the size
of the task's, so neither milliseconds nor bytes need a coefficient of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sdedge.bounds import Positive
from sdedge.errors import RunError
from sdedge.genotype import Architecture, Genotype
from sdedge.operations import DARTS_OPERATIONS
from sdedge.schema import to_record
from sdedge.space.darts.cell import CELL_TYPES, NODES
from sdedge.space.supernet import MixingWeights

# Where an operation of a cell stands, as far as its cost depends on it: in a reduction cell, the
# operations on the cell's inputs have stride 2.
Place = Literal["normal", "reduce", "reduce_strided"]
PLACES: tuple[Place, ...] = get_args(Place)

# How often an epoch looks at the derived cell.
ADJUSTMENTS = 10
# What one look adds to a multiplier for a cost of twice the limit or more; less in proportion.
_RATE = 0.5
# A multiplier of 1 weighs the cost like the task; more than this would leave nothing of the task.
_MAX_MULTIPLIER = 4.0
_OPERATIONS_A_NODE = 2
_MIN_NORM = 1e-12


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One limited figure of the network: its limit, and what it is the sum of, in one unit."""

    limit: Positive
    fixed: float
    prices: Mapping[Place, Mapping[str, float]]  # of an operation, in all cells of the type
    error: float = 0.0  # median, relative, of the sum: what does not add up

    def of(self, genotype: Architecture) -> float:
        """The figure of the network that `genotype` makes."""
        return self.fixed + sum(self.prices[place][name] for place, name in places(genotype))

    @property
    def maximum(self) -> float:
        """The figure of the most expensive cell."""
        highest = {place: max(prices.values()) for place, prices in self.prices.items()}
        reduce = max(highest["reduce"], highest["reduce_strided"])
        return self.fixed + NODES * _OPERATIONS_A_NODE * (highest["normal"] + reduce)

    @classmethod
    def from_dict(cls, data: object, *, source: str) -> "Costs":
        """Read what `dataclasses.asdict` gives; RunError naming `source` when it is damaged."""
        costs = to_record(data, cls, source=f"{source} is damaged")
        for place in PLACES:
            if missing := set(DARTS_OPERATIONS[1:]) - costs.prices.get(place, {}).keys():
                raise RunError(f"{source} is damaged: {place} has no price of {min(missing)}")
        return costs


def places(genotype: Architecture) -> list[tuple[Place, str]]:
    """Every operation of a genotype, and where it stands."""
    if not isinstance(genotype, Genotype):
        raise TypeError(f"prices are of the DARTS space, not of a {type(genotype).__name__}")
    cells = (("normal", genotype.normal), ("reduce", genotype.reduce))
    return [(_place(kind, source), name) for kind, edges in cells for name, source in edges]


def _place(kind: str, source: int) -> Place:
    if kind == "normal":
        return "normal"
    return "reduce_strided" if source < 2 else "reduce"


class Budget(nn.Module):
    """The limits of a search, on its device, and the multiplier of each: its only state."""

    multipliers: Tensor  # (limits,)

    def __init__(self, costs: Mapping[str, Costs], device: torch.device) -> None:
        super().__init__()
        self.costs = dict(costs)
        self.register_buffer(
            "multipliers", torch.zeros(len(costs), dtype=torch.float64, device=device)
        )
        self._fixed = self._tensor([c.fixed / c.limit for c in costs.values()])
        self._shares = {  # (limits, edges, operations) of each limit
            kind: self._tensor([_table(c, kind) for c in costs.values()]) for kind in CELL_TYPES
        }
        node = [node for node in range(NODES) for _ in range(2 + node)]  # of each edge
        self._together = self._tensor([[float(n == m) for m in node] for n in node])

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return self.multipliers.new_tensor(values)

    def expected(self, weights: MixingWeights) -> Tensor:
        """Expected cost as a share of each limit: (limits,), differentiable.

        Each node draws two of the operations on its edges in proportion to their mixing weights.
        `none` is not drawn, as no derived cell holds it: else it would be the way to look cheap.
        """
        total = self._fixed
        for kind, shares in self._shares.items():
            kept = weights[kind][:, 1:]
            of_node = (self._together * kept.sum(dim=1)).sum(dim=1, keepdim=True)
            drawn = _OPERATIONS_A_NODE * kept / of_node
            total = total + (shares * drawn).sum(dim=(1, 2))
        return total

    def derived(self, genotype: Architecture) -> list[float]:
        """Cost of a derived cell as a share of each limit."""
        return [costs.of(genotype) / costs.limit for costs in self.costs.values()]

    def adjust(self, genotype: Architecture) -> None:
        """Raise the multiplier of each limit that the derived cell breaks, lower the others."""
        excess = self._tensor(self.derived(genotype)).sub(1).clamp(-1, 1)
        self.multipliers.add_(_RATE * excess).clamp_(0, _MAX_MULTIPLIER)

    def weigh(
        self, gradients: Sequence[Tensor], weights: MixingWeights, alphas: Sequence[Tensor]
    ) -> list[Tensor]:
        """The task's gradients for alpha, plus those of the expected costs.

        Each of the latter is scaled to the norm of the task's and then multiplied. Waits for no
        device, so a CUDA graph can hold it; multipliers stay where they are in memory.
        """
        norm = nn.utils.get_total_norm(gradients)
        total = list(gradients)
        for multiplier, share in zip(self.multipliers, self.expected(weights), strict=True):
            of_cost = torch.autograd.grad(
                share, alphas, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            scale = multiplier * norm / nn.utils.get_total_norm(of_cost).clamp_min(_MIN_NORM)
            total = [(t + scale * c).to(t.dtype) for t, c in zip(total, of_cost, strict=True)]
        return total

    def report(self, weights: MixingWeights, genotype: Architecture) -> dict[str, dict[str, float]]:
        """By limit: limit, expected and derived cost in its unit, and the multiplier."""
        figures = zip(
            self.costs.items(),
            self.expected(weights).tolist(),
            self.multipliers.tolist(),
            strict=True,
        )
        return {
            name: {
                "limit": costs.limit,
                "expected": share * costs.limit,
                "derived": costs.of(genotype),
                "multiplier": multiplier,
            }
            for (name, costs), share, multiplier in figures
        }


def _table(costs: Costs, kind: str) -> list[list[float]]:
    """Share of the limit that each operation but `none` takes on each edge: 14 x 7."""
    places = [_place(kind, source) for node in range(NODES) for source in range(2 + node)]
    return [
        [costs.prices[place][name] / costs.limit for name in DARTS_OPERATIONS[1:]]
        for place in places
    ]
