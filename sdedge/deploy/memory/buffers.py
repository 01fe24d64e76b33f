"""Which tensors of a graph share memory, and what may be written over."""

from collections.abc import Sequence

from sdedge.deploy.ir.graph import RESHAPES, Graph, Operator, Value
from sdedge.deploy.memory.arena import Lifetime
from sdedge.deploy.memory.schedule import Buffer, Memory, Moment


class Buffers:
    """The pieces of memory that a graph's tensors lie in, whatever the order of operators."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        home = {o.outputs[0]: o.inputs[0] for o in graph.operators if _is_renamed(o, graph)}
        self._values = [value for value in graph.values.values() if value.name not in home]
        index = {value.name: i for i, value in enumerate(self._values)}
        self._index = {name: index[_end(home, name)] for name in graph.values}

    def memory(self) -> Memory:
        """What lives when, for the search of an order."""
        graph = self._graph
        writers: list[set[int]] = [set() for _ in self._values]
        readers: list[set[int]] = [set() for _ in self._values]
        maker: dict[str, int] = {}
        for i, operator in enumerate(graph.operators):
            for name in operator.inputs:
                readers[self._index[name]].add(i)
            for name in operator.outputs:
                writers[self._index[name]].add(i)
                maker[name] = i
        given, kept = (
            {self._index[name] for name in names} for names in (graph.inputs, graph.outputs)
        )
        return Memory(
            [
                Buffer(
                    value.size_bytes,
                    frozenset(writers[b]),
                    frozenset(readers[b]),
                    b in given,
                    b in kept,
                )
                for b, value in enumerate(self._values)
            ],
            [frozenset(maker[name] for name in o.inputs if name in maker) for o in graph.operators],
            [self._replaceable(operator) for operator in graph.operators],
        )

    def _replaceable(self, operator: Operator) -> frozenset[int]:
        """The buffers that the result of an elementwise operator may be written over."""
        if operator.kind != "elementwise" or operator.unpriced is not None:
            return frozenset()
        result = self._values[self._index[operator.outputs[0]]]
        inputs = {self._index[name] for name in operator.inputs}
        return frozenset(b for b in inputs if self._values[b].size_bytes == result.size_bytes)

    def alive(self, moment: Moment) -> list[Value]:
        """The tensors in memory at a moment; one that is being written over is left out."""
        return [self._values[b] for b in moment.buffers if b != moment.overwritten]

    def lifetimes(self, moments: Sequence[Moment]) -> list[Lifetime]:
        """From when to when each piece of memory is taken; what is written over is one piece."""
        given = sorted({self._index[name] for name in self._graph.inputs})
        piece = {b: place for place, b in enumerate(given)}
        spans = [(self._values[b].size_bytes, 0) for b in given]
        last = [0] * len(given)
        for time, moment in enumerate(moments):
            for b in sorted(moment.buffers - piece.keys()):
                if moment.overwritten is None:
                    piece[b] = len(spans)
                    spans.append((self._values[b].size_bytes, time))
                    last.append(time)
                else:
                    piece[b] = piece[moment.overwritten]
            for b in moment.buffers:
                last[piece[b]] = time
        return [Lifetime(size, first, end) for (size, first), end in zip(spans, last, strict=True)]


def _is_renamed(operator: Operator, graph: Graph) -> bool:
    """Whether its result is its input's bytes under another shape."""
    if operator.op_type not in RESHAPES or not operator.inputs:
        return False
    source, result = (graph.values[n] for n in (operator.inputs[0], operator.outputs[0]))
    return source.size_bytes == result.size_bytes


def _end(home: dict[str, str], name: str) -> str:
    while name in home:
        name = home[name]
    return name
