"""The order of operators that needs the least memory at its worst moment.

What is in memory after a set of operators has run does not depend on their order, so orders are
paths through such sets. The search looks, depth first, for a path that stays below the best peak
known, until there is none. Most steps need no choice: let a run of operators, each reading the
result of the one before, stay below the limit and end with no more in memory than there was. Every
order that takes these operators later can take them now: memory is submodular in the sets, so what
the run leaves, after any larger set, is no more than what was there. Such runs are taken at once;
the sets that remain are few enough to visit all in the cells of the DARTS space.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

STATES = 20_000  # visited sets after which the best order found has to do
TRIALS = 1_000_000  # and so often an operator may be tried; wide graphs try many at each set


@dataclass(frozen=True)
class Buffer:
    """Bytes that operators share; an operator is a number, its place in the order of the file."""

    size: int
    writers: frozenset[int]
    readers: frozenset[int]
    given: bool = False  # there from the start: the image
    kept: bool = False  # there at the end: the scores


@dataclass(frozen=True)
class Schedule:
    """An order, its peak, and whether no order has a lower one (else: none was found)."""

    order: tuple[int, ...]
    peak_bytes: int
    optimal: bool


@dataclass(frozen=True)
class Moment:
    """While `operator` runs: the buffers there are, and which of them its result replaces."""

    operator: int
    buffers: frozenset[int]
    overwritten: int | None


@dataclass(frozen=True)
class _State:
    """After some operators have run: which (a bit each), which may come next, what is alive."""

    done: int
    ready: int
    live: int


class Memory:
    """What lives when. `after[i]` are the operators that operator i waits for.

    `over[i]` are the buffers that operator i may write its result over, once nothing else needs
    them.
    """

    def __init__(
        self,
        buffers: Sequence[Buffer],
        after: Sequence[frozenset[int]],
        over: Sequence[frozenset[int]],
    ) -> None:
        self._buffers = buffers
        self._over = over
        self.trials = 0
        self._needs = [_mask(operators) for operators in after]
        self._next: list[list[int]] = [[] for _ in after]
        for i, needs in enumerate(after):
            for j in needs:
                self._next[j].append(i)
        self._writers = [_mask(buffer.writers) for buffer in buffers]
        self._users = [_mask(buffer.writers | buffer.readers) for buffer in buffers]
        self._touched: list[list[int]] = [[] for _ in after]
        for b, buffer in enumerate(buffers):
            for i in buffer.writers | buffer.readers:
                self._touched[i].append(b)

    @property
    def operators(self) -> int:
        """How many there are."""
        return len(self._needs)

    @property
    def start(self) -> _State:
        """Nothing has run."""
        ready = _mask(i for i, needs in enumerate(self._needs) if not needs)
        live = sum(buffer.size for buffer in self._buffers if buffer.given)
        return _State(0, ready, live)

    def run(self, state: _State, operator: int) -> tuple[int, _State]:
        """Bytes in memory while `operator` runs, and what is there afterwards."""
        self.trials += 1
        bit = 1 << operator
        done = state.done | bit
        used, live = state.live, state.live
        overwritten = False
        for b in self._touched[operator]:
            size = self._buffers[b].size
            if not self._exists(b, state.done):
                used += size
                live += size
            if not self._needed(b, done):
                live -= size
                overwritten = overwritten or b in self._over[operator]
        if overwritten:
            used = state.live  # the result takes the place of what it is computed from
        ready = state.ready ^ bit
        for i in self._next[operator]:
            if not self._needs[i] & ~done:
                ready |= 1 << i
        return used, _State(done, ready, live)

    def _exists(self, b: int, done: int) -> bool:
        return self._buffers[b].given or bool(done & self._writers[b])

    def _needed(self, b: int, done: int) -> bool:
        return self._buffers[b].kept or bool(self._users[b] & ~done)

    def moments(self, order: Sequence[int]) -> list[Moment]:
        """What is in memory while each operator runs."""
        done, moments = 0, []
        alive = {b for b, buffer in enumerate(self._buffers) if buffer.given}
        for operator in order:
            done |= 1 << operator
            alive |= set(self._touched[operator])
            ended = {b for b in self._touched[operator] if not self._needed(b, done)}
            overwritten = min(ended & self._over[operator], default=None)
            moments.append(Moment(operator, frozenset(alive), overwritten))
            alive -= ended
        return moments

    def peak(self, order: Sequence[int]) -> int:
        """The most that is in memory at once in this order."""
        state, highest = self.start, self.start.live
        for operator in order:
            used, state = self.run(state, operator)
            highest = max(highest, used)
        return highest

    def least(self) -> int:
        """What no order goes below: what one operator reads and writes, less what it overwrites."""
        least = self.start.live
        for touched, over in zip(self._touched, self._over, strict=True):
            used = sum(self._buffers[b].size for b in touched)
            least = max(least, used - max((self._buffers[b].size for b in over), default=0))
        return least

    def choices(self, state: _State, limit: int) -> Iterator[tuple[list[int], _State]]:
        """What may come next within `limit`, most promising first; one run if it does no harm."""
        harmless = self._harmless(state, limit)
        if harmless is not None:
            return iter([harmless])
        possible = [(operator, *self.run(state, operator)) for operator in _bits(state.ready)]
        within = [(after, operator) for operator, used, after in possible if used <= limit]
        within.sort(key=lambda choice: choice[0].live)
        return iter([([operator], after) for after, operator in within])

    def _harmless(self, state: _State, limit: int) -> tuple[list[int], _State] | None:
        """A run of operators within `limit` that leaves no more in memory than there is now."""
        for first in _bits(state.ready):
            operator, here, taken = first, state, [first]
            while True:
                used, after = self.run(here, operator)
                if used > limit:
                    break
                if after.live <= state.live:
                    return taken, after
                enabled = [i for i in self._next[operator] if after.ready >> i & 1]
                if len(enabled) != 1:
                    break
                operator, here = enabled[0], after
                taken.append(operator)
        return None


def best_order(memory: Memory, states: int = STATES) -> Schedule:
    """The order with the lowest peak found; the search visits at most `states` sets."""
    order = list(range(memory.operators))
    peak, least = memory.peak(order), memory.least()
    while peak > least:
        better, visited = _order_within(memory, peak - 1, states)
        states -= visited
        if better is None:
            return Schedule(tuple(order), peak, optimal=states > 0 and memory.trials < TRIALS)
        order, peak = better, memory.peak(better)
    return Schedule(tuple(order), peak, optimal=True)


def _order_within(memory: Memory, limit: int, states: int) -> tuple[list[int] | None, int]:
    """An order whose peak is at most `limit`, or None, and how many sets were visited."""
    order: list[int] = []
    seen: set[int] = set()
    # Each level: how long the order is there, and what to try next.
    levels: list[tuple[int, Iterator[tuple[list[int], _State]]]] = [(0, iter([([], memory.start)]))]
    while levels and len(seen) < states and memory.trials < TRIALS:
        length, choices = levels[-1]
        del order[length:]
        choice = next(choices, None)
        if choice is None:
            levels.pop()
            continue
        taken, state = choice
        order += taken
        if not state.ready:
            return order, len(seen)
        if state.done not in seen:
            seen.add(state.done)
            levels.append((len(order), memory.choices(state, limit)))
    return None, len(seen)


def _mask(operators: Iterable[int]) -> int:
    mask = 0
    for operator in operators:
        mask |= 1 << operator
    return mask


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
