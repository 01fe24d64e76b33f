"""A search that restores an earlier epoch, with more weight decay, when the loss gets sharp.

To the epoch loop it only gets longer: epochs are counted and logged as they are run, while batches
and schedules follow the epoch that the search has gone back to.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdedge.checkpoint import under_prefix, with_prefix
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.errors import RunError
from sdedge.nas.budget import Costs
from sdedge.nas.phase import SearchPhase
from sdedge.nas.strategy import Record

_DECAY_FACTOR = 10.0
_MAX_DECAY = 0.03
_STATES_KEPT = 5  # measured epochs whose state is kept: the last one, and four to go back to


class AdaptiveSearch(SearchPhase):
    """A search whose strategy says when to go back (RobustDARTS, section 5.3).

    The states to go back to are part of its own, so that a resume is exact. It never goes back
    beyond where it last did, and no more where the decay cannot grow.
    """

    def __init__(
        self, config: SearchConfig, dataset: Dataset, costs: Mapping[str, Costs] | None = None
    ) -> None:
        super().__init__(config, dataset, costs)
        self.repeated = 0  # epochs that were taken back
        self.course: list[Record] = []  # what was measured on the way to the present state
        self.held: dict[int, dict[str, Tensor]] = {}  # epoch by the schedule -> state at its end

    def relative_cost(self, epoch: int) -> float:
        """Of the epoch that it is by the schedule, as in all below."""
        return super().relative_cost(epoch - self.repeated)

    def begin_epoch(self, epoch: int) -> None:
        """Set what changes from epoch to epoch."""
        super().begin_epoch(epoch - self.repeated)

    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """Pairs of a training and a search batch."""
        return super().batches(epoch - self.repeated, start_step)

    def step(self, epoch: int, step: int, batch: Any) -> Mapping[str, Tensor]:
        """One alpha step, then one weight step."""
        return super().step(epoch - self.repeated, step, batch)

    def measured(self, epoch: int) -> Mapping[str, float]:
        """What the strategy measures, if it does, which is remembered with the present state."""
        found = super().measured(epoch)
        if found:
            self.course.append({"epoch": epoch + 1, **found})
            self.held[epoch] = {name: tensor.clone() for name, tensor in super().state().items()}
            self.held = dict(sorted(self.held.items())[-_STATES_KEPT:])
        return found

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Describe the search as it stands, and then go back where the strategy says so."""
        scheduled = epoch - self.repeated
        described = {"schedule_epoch": scheduled + 1, "weight_decay": self._decay}
        described |= super().end_epoch(scheduled)
        back = self._where_to(scheduled)
        if back is not None:
            self._go_back(scheduled, back)
            described["went_back_to"] = back + 1
        return described

    def _where_to(self, scheduled: int) -> int | None:
        go_back = self.bilevel.strategy.go_back
        if go_back is None or scheduled not in self.held or self._in_alpha_warmup(scheduled):
            return None
        back = go_back(self.course) if self._more_decay > self._decay else None
        return back if back in self.held else None

    def _go_back(self, scheduled: int, back: int) -> None:
        self.course = [record for record in self.course if record["epoch"] <= back + 1]
        self.held = {epoch: state for epoch, state in self.held.items() if epoch <= back}
        # A copy, as an optimizer keeps and moves the scalars that it is given.
        state = {name: tensor.clone() for name, tensor in self.held[back].items()}
        super().load_state(state, Path(f"the state of epoch {back + 1}"))
        self._set(self.repeated + scheduled - back, self._more_decay)

    @property
    def _decay(self) -> float:
        return float(self.bilevel.weight_optimizer.param_groups[0]["weight_decay"])

    @property
    def _more_decay(self) -> float:
        # Rounded, as 3e-4 * 10 * 10 is a little less than the maximum, and would go back again.
        return min(round(_DECAY_FACTOR * self._decay, 9), _MAX_DECAY)

    def _set(self, repeated: int, decay: float) -> None:
        self.repeated = repeated
        self.epochs = self.config.epochs + repeated
        for group in self.bilevel.weight_optimizer.param_groups:
            group["weight_decay"] = decay

    def state(self) -> dict[str, Tensor]:
        """That of a search, how it got here, and the states that it may go back to."""
        names = self.course[0] if self.course else ()
        course = {n: torch.tensor([r[n] for r in self.course], dtype=torch.float64) for n in names}
        state = {
            **super().state(),
            "repeated": torch.tensor(self.repeated),
            "decay": torch.tensor(self._decay, dtype=torch.float64),
            **with_prefix("course", course),
        }
        for epoch, held in self.held.items():
            state |= with_prefix(f"held/{epoch}", held)
        return state

    def load_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave."""
        if not {"repeated", "decay"} <= tensors.keys():
            raise RunError(f"{path} is not of a search with {self.config.strategy}")
        super().load_state(tensors, path)
        self._set(int(tensors["repeated"]), float(tensors["decay"]))
        course = under_prefix("course", tensors)
        rows = zip(*(column.tolist() for column in course.values()), strict=True)
        self.course = [dict(zip(course, row, strict=True)) for row in rows]
        held = under_prefix("held", tensors)
        epochs = sorted({int(name.partition("/")[0]) for name in held})
        self.held = {epoch: under_prefix(str(epoch), held) for epoch in epochs}
