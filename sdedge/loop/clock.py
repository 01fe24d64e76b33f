"""How long the rest of a phase will take, from measured steps and evaluations."""

import time

from sdedge.loop.phase import Phase

# The first step warms up; the estimate is made from those after it.
ESTIMATE_STEPS = 4


class Clock:
    """Measures steps and evaluations of this process, to say how long the rest will take."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._measured_steps = 0
        self._measured_cost = 0.0
        self._step_seconds = 0.0
        self._evaluation_seconds: float | None = None
        self._last = time.monotonic()

    def start(self) -> None:
        """A step or an evaluation starts now."""
        self._last = time.monotonic()

    def stepped(self, epoch: int) -> None:
        """A step ends now; the first one is left out of the mean."""
        now = time.monotonic()
        self._measured_steps += 1
        if self._measured_steps > 1:
            self._step_seconds += now - self._last
            self._measured_cost += self._phase.relative_cost(epoch)
        self._last = now

    def evaluated(self) -> None:
        """An evaluation ends now."""
        self._evaluation_seconds = time.monotonic() - self._last

    @property
    def warming(self) -> bool:
        """True until there are enough steps for an estimate: these must be timed exactly."""
        return self._measured_steps < ESTIMATE_STEPS

    @property
    def due(self) -> bool:
        """True once, at the step that completes the estimate."""
        return self._measured_steps == ESTIMATE_STEPS

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of a usual step, or None before there is one to judge by."""
        return self._step_seconds / self._measured_cost if self._measured_cost else None

    def remaining(self, epoch: int, step: int) -> float | None:
        """Seconds until the end of the phase, from `step` steps into `epoch`."""
        if self.step_seconds is None:
            return None
        left = range(epoch, self._phase.epochs)
        cost = self._phase.steps * sum(map(self._phase.relative_cost, left))
        if left:
            cost -= step * self._phase.relative_cost(epoch)
        evaluation = self._evaluation_seconds
        if evaluation is None:
            evaluation = self._phase.evaluation_cost * self.step_seconds
        return cost * self.step_seconds + len(left) * evaluation
