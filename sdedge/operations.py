"""What an edge of a cell may hold: one table of operations for each search space. No torch.

Whatever sdedge knows of an operation stands in its record: supernets, derived networks, drawings,
texts, the estimate of memory and the prices of a budget read it. `register` adds one:

    register(
        Operation(
            name="conv_3x3", label="conv 3x3", short="conv3", group="convolution",
            build="my_package.my_module:conv_3x3", dense_convolutions=1,
        )
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from sdedge.errors import ConfigError
from sdedge.escape import quoted, short
from sdedge.names import suggestion
from sdedge.registration import Registration
from sdedge.registration import register as add_to

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "AUXILIARY_SKIP",
    "DARTS",
    "DARTS_OPERATIONS",
    "NAS_BENCH_201",
    "NAS_BENCH_201_OPERATIONS",
    "NONE",
    "POOL",
    "SKIP",
    "Group",
    "Operation",
    "Space",
    "check_searched",
    "get_operation",
    "operations_of",
    "register",
]

Space = Literal["darts", "nas-bench-201"]
DARTS, NAS_BENCH_201 = get_args(Space)
# What operations of one colour in a drawing have in common.
Group = Literal[
    "separable convolution", "dilated convolution", "convolution", "pooling", "skip connection"
]
SKIP: Group = "skip connection"
POOL: Group = "pooling"

NONE = "none"  # an edge that carries nothing; the first operation of every edge of a supernet
AUXILIARY_SKIP = "auxiliary_skip"  # DARTS-: a skip that fades, beside the operations of the space


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a search space.

    Functions are named as "package.module:function", and imported when they are first called.
    """

    name: str
    label: str  # on an arrow of a drawing: at most 8 characters
    short: str  # in a line of text
    group: Group | None  # None: drawn faint, as nothing flows
    build: str | Callable[..., nn.Module] | None
    """(channels, stride, *, search) -> a module (N, C, H, W) -> (N, C, ceil(H / stride),
    ceil(W / stride)); in a search its batch norms are not affine. None: zero, never computed."""
    fused: str | Callable[..., Any] | None = None
    """Its form in the fused supernet, as the module `fused` of its space defines one; None: the
    module runs as it is, which the record of the run says."""
    has_weights: bool = True
    dense_convolutions: int = 0
    """What it costs: convolutions of all channels with all channels, as a 1x1 convolution is."""
    derivable: bool = True  # whether a derived cell may hold it

    def __post_init__(self) -> None:
        if self.group is not None and self.group not in get_args(Group):
            raise ConfigError(
                f"operation {short(self.name)} is of the group {short(self.group)}; choose from: "
                f"{', '.join(get_args(Group))}"
            )

    @property
    def is_skip(self) -> bool:
        """Whether it passes its input on; at stride 1, as it is."""
        return self.group == SKIP

    def module(self, channels: int, stride: int = 1, *, search: bool) -> nn.Module:
        """A new module that computes it; ConfigError for what is never computed."""
        if self.build is None:
            raise ConfigError(f"operation {self.name} is zero: there is nothing to build")
        built: nn.Module = _resolved(self.build)(channels, stride, search=search)
        return built

    @property
    def fused_form(self) -> Callable[..., Any] | None:
        """The function that computes it in the fused supernet, if it has one."""
        return None if self.fused is None else _resolved(self.fused)


@cache
def _resolved(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


_DARTS = "sdedge.space.darts"
_SEPARABLE: Group = "separable convolution"
_DILATED: Group = "dilated convolution"

# In the order of the rows of alpha (DARTS, section 3.1).
_DARTS_SEARCHED = (
    Operation(
        name=NONE,
        label="none",
        short="none",
        group=None,
        build=None,
        has_weights=False,
        derivable=False,
    ),
    Operation(
        name="max_pool_3x3",
        label="max 3x3",
        short="max3",
        group=POOL,
        build=f"{_DARTS}.operations:max_pool_3x3",
        fused=f"{_DARTS}.fused:pooled",
        has_weights=False,
    ),
    Operation(
        name="avg_pool_3x3",
        label="avg 3x3",
        short="avg3",
        group=POOL,
        build=f"{_DARTS}.operations:avg_pool_3x3",
        fused=f"{_DARTS}.fused:pooled",
        has_weights=False,
    ),
    Operation(
        name="skip_connect",
        label="skip",
        short="skip",
        group=SKIP,
        build=f"{_DARTS}.operations:skip_connect",
        fused=f"{_DARTS}.fused:skipped",
        has_weights=False,
    ),
    Operation(
        name="sep_conv_3x3",
        label="sep 3x3",
        short="sep3",
        group=_SEPARABLE,
        build=f"{_DARTS}.operations:sep_conv_3x3",
        fused=f"{_DARTS}.fused:separable_convolved",
        dense_convolutions=2,
    ),
    Operation(
        name="sep_conv_5x5",
        label="sep 5x5",
        short="sep5",
        group=_SEPARABLE,
        build=f"{_DARTS}.operations:sep_conv_5x5",
        fused=f"{_DARTS}.fused:separable_convolved",
        dense_convolutions=2,
    ),
    Operation(
        name="dil_conv_3x3",
        label="dil 3x3",
        short="dil3",
        group=_DILATED,
        build=f"{_DARTS}.operations:dil_conv_3x3",
        fused=f"{_DARTS}.fused:recomputed_separable_convolved",
        dense_convolutions=1,
    ),
    Operation(
        name="dil_conv_5x5",
        label="dil 5x5",
        short="dil5",
        group=_DILATED,
        build=f"{_DARTS}.operations:dil_conv_5x5",
        fused=f"{_DARTS}.fused:separable_convolved",
        dense_convolutions=1,
    ),
)
# Cells of NASNet and AmoebaNet hold these.
_DARTS_PUBLISHED = (
    Operation(
        name="sep_conv_7x7",
        label="sep 7x7",
        short="sep7",
        group=_SEPARABLE,
        build=f"{_DARTS}.operations:sep_conv_7x7",
        fused=f"{_DARTS}.fused:separable_convolved",
        dense_convolutions=2,
    ),
    Operation(
        name="conv_7x1_1x7",
        label="7x1 1x7",
        short="7x1+1x7",
        group="convolution",
        build=f"{_DARTS}.operations:conv_7x1_1x7",
        dense_convolutions=2,
    ),
)
_DARTS_AUXILIARY = Operation(
    name=AUXILIARY_SKIP,
    label="aux skip",
    short="auxskip",
    group=SKIP,
    build=f"{_DARTS}.operations:skip_connect",
    fused=f"{_DARTS}.fused:skipped",
    has_weights=False,
    derivable=False,
)

_NB201 = "sdedge.space.nasbench201"
# In the order of the rows of alpha (NAS-Bench-201, section 2.1).
_NB201_SEARCHED = (
    Operation(
        name=NONE,
        label="none",
        short="none",
        group=None,
        build=None,
        has_weights=False,
    ),
    Operation(
        name="skip_connect",
        label="skip",
        short="skip",
        group=SKIP,
        build=f"{_NB201}.operations:skip_connect",
        fused=f"{_NB201}.fused:skipped",
        has_weights=False,
    ),
    Operation(
        name="nor_conv_1x1",
        label="conv 1x1",
        short="conv1",
        group="convolution",
        build=f"{_NB201}.operations:nor_conv_1x1",
        fused=f"{_NB201}.fused:convolved",
        dense_convolutions=1,
    ),
    Operation(
        name="nor_conv_3x3",
        label="conv 3x3",
        short="conv3",
        group="convolution",
        build=f"{_NB201}.operations:nor_conv_3x3",
        fused=f"{_NB201}.fused:convolved",
        dense_convolutions=1,
    ),
    Operation(
        name="avg_pool_3x3",
        label="avg 3x3",
        short="avg3",
        group=POOL,
        build=f"{_NB201}.operations:avg_pool_3x3",
        fused=f"{_NB201}.fused:averaged",
        has_weights=False,
    ),
)
_NB201_AUXILIARY = Operation(
    name=AUXILIARY_SKIP,
    label="aux skip",
    short="auxskip",
    group=SKIP,
    build=f"{_NB201}.operations:skip_connect",
    fused=f"{_NB201}.fused:skipped",
    has_weights=False,
    derivable=False,
)

DARTS_OPERATIONS = tuple(operation.name for operation in _DARTS_SEARCHED)
NAS_BENCH_201_OPERATIONS = tuple(operation.name for operation in _NB201_SEARCHED)
_TABLES: dict[str, dict[str, Operation]] = {
    DARTS: {op.name: op for op in (*_DARTS_SEARCHED, *_DARTS_PUBLISHED, _DARTS_AUXILIARY)},
    NAS_BENCH_201: {op.name: op for op in (*_NB201_SEARCHED, _NB201_AUXILIARY)},
}


def operations_of(space: str = DARTS) -> Mapping[str, Operation]:
    """The operations of a space by name, registered ones among them."""
    return MappingProxyType(_TABLES[space])


def get_operation(name: str, space: str = DARTS) -> Operation:
    """The operation called `name`; ConfigError, with what there is, for another."""
    if name not in _TABLES[space]:
        raise ConfigError(
            f"unknown operation {quoted(name)} of {space}{suggestion(name, _TABLES[space])}; "
            f"choose from: {', '.join(_TABLES[space])}"
        )
    return _TABLES[space][name]


def check_searched(names: Sequence[str], space: str = DARTS) -> None:
    """Raise ConfigError for operations of an edge, `none` first, that cannot be searched over."""
    first, *others = names
    if first != NONE or not others:
        raise ConfigError(f"an edge has {NONE} and at least one other operation to choose from")
    if len(set(names)) < len(names):
        raise ConfigError(f"an operation is named twice: {', '.join(names)}")
    for name in others:
        if not get_operation(name, space).derivable:
            raise ConfigError(f"operation {name} of {space} is never part of a derived cell")


def register(operation: Operation, space: Space = DARTS) -> Registration:
    """Add an operation to a space, for good or, used in a `with` statement, for its block.

    Raises ConfigError for a name that is taken, or cannot be one.
    """
    return add_to(_TABLES[space], operation.name, operation, kind="operation")
