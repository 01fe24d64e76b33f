"""The cell of NAS-Bench-201 and its arch string. Plain data, no torch.

Four nodes, an operation on each of the six edges between them, every node the sum of what flows
into it; node 0 is the input and node 3 the output. The published string names, for nodes 1, 2 and
3, the operation on each edge and where the edge starts:

    |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|

Dong, Yang: NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sdedge.errors import GenotypeError
from sdedge.escape import printable, short
from sdedge.genotype import Architecture
from sdedge.genotype_text import read_arch
from sdedge.operations import (
    NAS_BENCH_201,
    NAS_BENCH_201_OPERATIONS,
    Operation,
    choices,
    operations_of,
)
from sdedge.schema import decode_json, read_bytes, to_record

CELL_TYPE = "cell"  # all cells are alike
NODES = 4
# (to, from), as arch strings list them.
EDGES = tuple((target, source) for target in range(1, NODES) for source in range(target))


@dataclass(frozen=True)
class _Stored:
    """The JSON form, as far as it is read."""

    arch: str


@dataclass(frozen=True)
class Nb201Cell(Architecture):
    """An operation for each of the six edges, in the order of EDGES.

    Raises GenotypeError at construction when an operation is missing or unknown.
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.operations) != len(EDGES):
            raise GenotypeError(
                f"a cell of {NAS_BENCH_201} has {len(EDGES)} operations, got {len(self.operations)}"
            )
        derivable = [op.name for op in operations_of(NAS_BENCH_201).values() if op.derivable]
        for (target, source), operation in zip(EDGES, self.operations, strict=True):
            if operation not in derivable:
                raise GenotypeError(
                    f"edge {target}<-{source}: unknown operation {short(operation)}; "
                    f"{choices(derivable)}"
                )

    @property
    def skip_count(self) -> int:
        """Number of skip connections; six of them are the usual collapse of DARTS."""
        return sum(operation.is_skip for operation in self._records())

    @property
    def parameter_free_count(self) -> int:
        """Number of edges without weights: skips, pools and those that are cut."""
        return sum(not operation.has_weights for operation in self._records())

    @property
    def collapsed(self) -> bool:
        """True when more than half of the edges have no weights."""
        return 2 * self.parameter_free_count > len(self.operations)

    def _records(self) -> Iterator[Operation]:
        table = operations_of(NAS_BENCH_201)
        return (table[name] for name in self.operations)

    def to_arch(self) -> str:
        """The arch string."""
        nodes = [""] * NODES
        for (target, source), operation in zip(EDGES, self.operations, strict=True):
            nodes[target] += f"|{operation}~{source}"
        return "+".join(f"{node}|" for node in nodes[1:])

    @classmethod
    def from_arch(cls, arch: str) -> Self:
        """Read an arch string; GenotypeError names the part that is wrong."""
        nodes = arch.strip().split("+")
        try:
            if len(nodes) != NODES - 1:
                raise GenotypeError(f"{len(nodes)} nodes joined by '+'; there must be {NODES - 1}")
            return cls(tuple(itertools.chain(*map(_operations_into, itertools.count(1), nodes))))
        except GenotypeError as error:
            raise GenotypeError(f"arch {short(arch)}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as a plain dict."""
        return {"space": NAS_BENCH_201, "arch": self.to_arch()}

    @classmethod
    def from_dict(cls, data: object, *, source: str = "genotype") -> Self:
        """Read the JSON form; `source` names the file in error messages."""
        fields = to_record(data, dict[str, Any], source=source, error=GenotypeError)
        if fields.get("space", NAS_BENCH_201) != NAS_BENCH_201:  # another space has other fields
            raise GenotypeError(
                f"{source}: the space is {short(fields['space'])}, not {NAS_BENCH_201}"
            )
        stored = to_record(fields, _Stored, source=source, error=GenotypeError)
        try:
            return cls.from_arch(stored.arch)
        except GenotypeError as error:
            raise GenotypeError(f"{source}: {error}") from None


def read_cell(path: Path) -> Nb201Cell:
    """The cell in a file, as JSON or as an arch string; GenotypeError naming the file."""
    shown = printable(str(path))
    data = read_bytes(path, error=GenotypeError)
    if data.lstrip()[:1] in (b"{", b"["):
        decoded = decode_json(data, object, source=shown, error=GenotypeError)
        return Nb201Cell.from_dict(decoded, source=shown)
    text = data.decode(errors="replace")
    try:
        return Nb201Cell.from_arch(read_arch(text))
    except GenotypeError as error:
        raise GenotypeError(f"{shown}: {error}") from None


def all_cells() -> Iterator[Nb201Cell]:
    """The 15,625 cells of the space."""
    return map(Nb201Cell, itertools.product(NAS_BENCH_201_OPERATIONS, repeat=len(EDGES)))


def random_cell(
    rng: random.Random, operations: Sequence[str] = NAS_BENCH_201_OPERATIONS
) -> Nb201Cell:
    """One of all cells, each as likely as any other."""
    return Nb201Cell(tuple(rng.choice(operations) for _ in EDGES))


def _operations_into(node: int, text: str) -> Iterator[str]:
    """The operations of `|op~0|op~1|...|`, one for each node before `node`."""
    parts = text.split("|")
    if len(parts) != node + 2 or parts[0] or parts[-1]:
        raise GenotypeError(
            f"node {node} is {short(text)}; it must be |OPERATION~SOURCE|, {node} of them joined"
        )
    for source, item in enumerate(parts[1:-1]):
        operation, separator, number = item.partition("~")
        if not separator or number != str(source):
            raise GenotypeError(f"node {node}: {short(item)} must be OPERATION~{source}")
        yield operation
