"""Operations by search space and name. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sdedge.errors import ConfigError
from sdedge.escape import quoted, short
from sdedge.names import suggestion
from sdedge.operations import darts, nasbench201
from sdedge.operations.operation import DARTS, NAS_BENCH_201, NONE, Operation, Space
from sdedge.registration import Registration, check_class, register

DARTS_OPERATIONS = tuple(operation.name for operation in darts.SEARCH_SET)
NAS_BENCH_201_OPERATIONS = tuple(operation.name for operation in nasbench201.SEARCH_SET)
_TABLES: dict[str, dict[str, Operation]] = {
    DARTS: {op.name: op for op in (*darts.SEARCH_SET, *darts.PUBLISHED, darts.AUXILIARY)},
    NAS_BENCH_201: {op.name: op for op in (*nasbench201.SEARCH_SET, nasbench201.AUXILIARY)},
}

_BUILT_IN = {space: frozenset(table) for space, table in _TABLES.items()}


def is_built_in(name: str, space: str = DARTS) -> bool:
    """Whether a space has the operation `name` of itself."""
    return name in _BUILT_IN[space]


def operations_of(space: str = DARTS) -> Mapping[str, Operation]:
    """The operations of a space by name, registered ones among them."""
    return MappingProxyType(_TABLES[space])


def get_operation(name: str, space: str = DARTS) -> Operation:
    """The operation called `name`; ConfigError, with what there is, for another."""
    if name not in _TABLES[space]:
        raise ConfigError(
            f"unknown operation {quoted(name)} of {space}{suggestion(name, _TABLES[space])}; "
            f"{choices(_TABLES[space])}"
        )
    return _TABLES[space][name]


def choices(names: Iterable[str]) -> str:
    """What a message offers in the place of an unknown operation."""
    return f"choose from {', '.join(names)}, or register it first (register_operation)"


def check_search_set(names: Sequence[str], space: str = DARTS) -> None:
    """Raise ConfigError for operations of an edge, `none` first, that cannot be searched over."""
    first, *others = names
    if first != NONE or not others:
        raise ConfigError(f"an edge has {NONE} and at least one other operation to choose from")
    if NONE in others:
        raise ConfigError(f"operations has {NONE}, which is always there; leave it out")
    if len(set(names)) < len(names):
        raise ConfigError(f"an operation is named twice: {', '.join(names)}")
    for name in others:
        if not get_operation(name, space).derivable:
            raise ConfigError(f"operation {name} of {space} is never part of a derived cell")


def register_operation(operation: Operation, space: Space = DARTS) -> Registration:
    """Add an operation to a space, for good or, used in a `with` statement, for its block.

    Raises ConfigError for no Operation, for an unknown space, and for a name that is taken or
    cannot be one.
    """
    check_class(operation, Operation)
    if space not in tuple(_TABLES):  # it may be anything
        raise ConfigError(f"unknown space {short(space)}; choose from {', '.join(_TABLES)}")
    return register(_TABLES[space], operation.name, operation, kind="operation")
