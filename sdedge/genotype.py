"""The genotype: which operations a cell keeps, and from where. Plain data, no torch.

A genotype is what a search finds and what every later step builds on. Its JSON form is the one
published genotypes come in, with the search space named:

    {"space": "darts",
     "normal": [["sep_conv_3x3", 1], ...], "normal_concat": [2, 3, 4, 5],
     "reduce": [["max_pool_3x3", 0], ...], "reduce_concat": [2, 3, 4, 5]}

Nodes 0 and 1 are the outputs of the two cells before; each further node sums two operations.
A cell is also read as DARTS prints it, `Genotype(normal=[('sep_conv_3x3', 1), ...], ...)`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from msgspec import Meta

from sdedge.errors import GenotypeError
from sdedge.escape import printable, quoted, short
from sdedge.genotype_text import is_arch, is_printed, read_printed
from sdedge.names import find_name, suggestion
from sdedge.operations import DARTS, NAS_BENCH_201, choices, get_operation, operations_of
from sdedge.paths import checked_path
from sdedge.schema import decode_json, read_bytes, to_record

SPACES = (DARTS,)
# Inner nodes of a cell. NASNet and AmoebaNet have 5.
MAX_NODES = 32

Edge = tuple[str, int]
_Edges = tuple[Annotated[Edge, Meta(description='["operation", source]')], ...]


class Architecture(ABC):
    """What a search finds, in whichever space."""

    @property
    @abstractmethod
    def skip_count(self) -> int:
        """Number of skip connections in the cell that has stride 1, the usual sign of collapse."""

    @property
    @abstractmethod
    def parameter_free_count(self) -> int:
        """Number of operations without weights in that cell."""

    @property
    @abstractmethod
    def collapsed(self) -> bool:
        """True when more than half of that cell's operations have no weights."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as plain lists and dicts."""

    @classmethod
    @abstractmethod
    def from_dict(cls, data: object, *, source: str = "genotype") -> Self:
        """Read the JSON form; `source` names the file in error messages."""

    def to_json(self) -> str:
        """The JSON form, as text ending in a newline."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "genotype") -> Self:
        """Read the JSON form from text."""
        data = text.encode(errors="surrogateescape")
        return cls.from_dict(
            decode_json(data, object, source=source, error=GenotypeError), source=source
        )


@dataclass(frozen=True, kw_only=True)
class Genotype(Architecture):
    """A normal and a reduction cell; two (operation, source node) pairs for each inner node.

    Raises GenotypeError at construction when a cell cannot be built.
    """

    normal: _Edges
    reduce: _Edges
    normal_concat: tuple[int, ...] = (2, 3, 4, 5)
    reduce_concat: tuple[int, ...] = (2, 3, 4, 5)
    space: str = DARTS

    def __post_init__(self) -> None:
        _check_space(self.space, "")
        _check_cell("normal", self.normal, self.normal_concat)
        _check_cell("reduce", self.reduce, self.reduce_concat)

    @property
    def skip_count(self) -> int:
        """Number of skip connections in the normal cell, the usual sign of collapse."""
        return sum(get_operation(name).is_skip for name, _ in self.normal)

    @property
    def parameter_free_count(self) -> int:
        """Number of skips and pools in the normal cell."""
        return sum(not get_operation(name).has_weights for name, _ in self.normal)

    @property
    def collapsed(self) -> bool:
        """True when more than half of the normal cell's operations are skips or pools."""
        return 2 * self.parameter_free_count > len(self.normal)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as plain lists and dicts."""
        return {
            "space": self.space,
            "normal": [list(edge) for edge in self.normal],
            "normal_concat": list(self.normal_concat),
            "reduce": [list(edge) for edge in self.reduce],
            "reduce_concat": list(self.reduce_concat),
        }

    @classmethod
    def from_dict(cls, data: object, *, source: str = "genotype") -> Self:
        """Read the JSON form; `source` names the file in error messages."""
        if isinstance(data, Mapping) and "space" in data:
            _check_space(data["space"], f"{source}: ")  # another space has other fields
        return to_record(data, cls, source=source, error=GenotypeError)


@dataclass(frozen=True, kw_only=True)
class PublishedGenotype:
    """A genotype from the literature: its name, where it was read, and the cell itself."""

    name: str
    source: str
    genotype: Genotype


@cache
def published() -> dict[str, PublishedGenotype]:
    """Published genotypes by name, in the order of publication."""
    text = files("sdedge").joinpath("published.json").read_text(encoding="utf-8")
    return {
        entry["name"]: PublishedGenotype(
            name=entry["name"],
            source=entry["source"],
            genotype=Genotype.from_dict(entry, source=entry["name"]),
        )
        for entry in json.loads(text)
    }


def load_genotype(name_or_file: str | Path) -> Genotype:
    """A genotype from a published name, a file, a run directory, or the text of a printed cell.

    A file holds the JSON form, or one cell as DARTS prints it, anywhere in a log. Raises
    GenotypeError, listing the published names when nothing matches.
    """
    if not isinstance(name_or_file, str | Path):
        raise GenotypeError(
            f"a genotype is a name, a path or a cell as text, not a {type(name_or_file).__name__}"
        )
    text, source = str(name_or_file), "the genotype"
    if not is_cell_text(text):
        path = checked_path(name_or_file, error=GenotypeError)
        name = find_name(text, published())
        if name and (name == text or not path.exists()):
            return published()[name].genotype
        text, source = _file_text(path)
    if is_printed(text):
        return Genotype.from_dict(read_printed(text, source=source), source=source)
    if is_arch(text) and not text.lstrip().startswith("{"):
        raise GenotypeError(
            f"{source}: {short(text.strip())} is a cell of {NAS_BENCH_201}; a network can be built "
            f"of: {_list(SPACES)} (that cell is looked up, `sdedge nasbench query`)"
        )
    return Genotype.from_json(text, source=source)


def is_cell_text(text: str) -> bool:
    """Whether `text` is a cell itself, rather than the name of one or a file."""
    return is_printed(text) or is_arch(text)


def named_run(name: str) -> Path | None:
    """The run directory that a genotype is named by; None where it is named in another way."""
    if name in published() or is_cell_text(name):
        return None
    path = checked_path(name, error=GenotypeError)
    return path if path.is_dir() else None


def _file_text(path: Path) -> tuple[str, str]:
    """The text that may be a genotype, and the file that it is in."""
    if path.is_dir():
        path = path / "genotype.json"
    if not path.exists():
        raise GenotypeError(
            f"no genotype {quoted(path)}{suggestion(str(path), published())}: neither a file nor a "
            f"published name. Published: {_list(published())}"
        )
    shown = printable(str(path))
    try:
        return read_bytes(path, error=GenotypeError).decode(), shown
    except UnicodeDecodeError as error:
        raise GenotypeError(f"{shown}: cannot be read as a genotype ({error})") from None


def _check_space(space: object, where: str) -> None:
    if not isinstance(space, str) or space not in SPACES:
        raise GenotypeError(
            f"{where}a genotype of the search space {short(space)}; a network can be built of: "
            f"{_list(SPACES)} (cells of {NAS_BENCH_201} are looked up, `sdedge nasbench query`)"
        )


def _check_cell(name: str, edges: tuple[Edge, ...], concat: tuple[int, ...]) -> None:
    if not edges or len(edges) % 2:
        raise GenotypeError(f"{name} has {len(edges)} operations; each node needs exactly two")
    if len(edges) > 2 * MAX_NODES:
        raise GenotypeError(
            f"{name} has {len(edges)} operations; at most {2 * MAX_NODES} are built"
        )
    derivable = [operation.name for operation in operations_of().values() if operation.derivable]
    for position, (operation, source) in enumerate(edges):
        node = 2 + position // 2
        if operation not in derivable:
            raise GenotypeError(
                f"{name}[{position}]: unknown operation {short(operation)}; {choices(derivable)}"
            )
        if not 0 <= source < node:
            raise GenotypeError(
                f"{name}[{position}]: node {node} cannot read from node {short(source)}; "
                f"sources are 0 to {node - 1}"
            )
    nodes = 2 + len(edges) // 2
    if not concat or len(set(concat)) != len(concat) or not all(2 <= n < nodes for n in concat):
        raise GenotypeError(
            f"{name}_concat {short(list(concat))} must be distinct inner nodes, 2 to {nodes - 1}"
        )


def _list(names: Any) -> str:
    return ", ".join(names)
