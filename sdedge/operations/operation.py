"""The record of one operation. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from sdedge.errors import ConfigError
from sdedge.escape import short

if TYPE_CHECKING:
    from torch import nn

Space = Literal["darts", "nas-bench-201"]
DARTS, NAS_BENCH_201 = get_args(Space)
# What operations of one colour in a drawing have in common.
Group = Literal[
    "separable convolution", "dilated convolution", "convolution", "pooling", "skip connection"
]
SKIP: Group = "skip connection"
POOL: Group = "pooling"

NONE = "none"  # an edge that carries nothing; the first operation of every edge of a supernet
AUXILIARY_SKIP = "auxiliary_skip"  # DARTS-: a skip that fades, on every edge


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
                f"operation {short(self.name)} is of the group {short(self.group)}; choose from "
                f"{', '.join(get_args(Group))}"
            )

    @property
    def is_skip(self) -> bool:
        """Whether it passes its input on; at stride 1, as it is."""
        return self.group == SKIP

    def module(self, channels: int, stride: int = 1, *, search: bool) -> nn.Module:
        """A new module that computes it.

        Raises ConfigError for what is never computed, and where `build` names no function or gives
        no module.
        """
        if self.build is None:
            raise ConfigError(f"operation {self.name} is zero: there is nothing to build")
        from torch import nn

        built = self._function(self.build)(channels, stride, search=search)
        if not isinstance(built, nn.Module):
            raise ConfigError(
                f"operation {self.name}: {short(self.build)} gives {short(built)}; it must give a "
                "torch.nn.Module"
            )
        return built

    @property
    def fused_form(self) -> Callable[..., Any] | None:
        """The function that computes it in the fused supernet, if it has one."""
        return None if self.fused is None else self._function(self.fused)

    def _function(self, reference: str | Callable[..., Any]) -> Callable[..., Any]:
        """What `reference` names; ConfigError where there is no such function."""
        try:
            found = _resolve(reference) if isinstance(reference, str) else reference
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"operation {self.name}: {short(reference)} names no function ({short(str(error))})"
                '; it must be "package.module:function"'
            ) from error
        if not callable(found):
            raise ConfigError(f"operation {self.name}: {short(reference)} is no function")
        return found


@cache
def _resolve(reference: str) -> Any:
    module, colon, name = reference.partition(":")
    if not colon:
        raise ValueError("there is no colon")
    return getattr(import_module(module), name)
