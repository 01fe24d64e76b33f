"""Search spaces by name."""

from collections.abc import Sequence
from dataclasses import replace

from sdedge.errors import ConfigError
from sdedge.operations import NONE, get_operation
from sdedge.space.darts.space import DartsSpace
from sdedge.space.nasbench201.space import Nb201Space
from sdedge.space.space import SearchSpace

SPACES: dict[str, SearchSpace] = {space.name: space for space in (DartsSpace(), Nb201Space())}


def get_space(name: str, operations: Sequence[str] | None = None) -> SearchSpace:
    """The space called `name`, with these operations besides `none`; None: with its own.

    Those without weights come first, as in the tables of the papers.
    Raises ConfigError, with what there is, for an unknown space or operation.
    """
    if name not in SPACES:
        raise ConfigError(f"unknown space {name!r}; choose from {', '.join(SPACES)}")
    space = SPACES[name]
    if operations is None:
        return space
    ordered = sorted(operations, key=lambda each: get_operation(each, name).has_weights)
    return replace(space, operations=(NONE, *ordered))
