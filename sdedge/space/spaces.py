"""Search spaces by name."""

from sdedge.errors import ConfigError
from sdedge.space.darts.space import DARTS
from sdedge.space.nasbench201.space import NAS_BENCH_201
from sdedge.space.space import SearchSpace

SPACES: dict[str, SearchSpace] = {space.name: space for space in (DARTS, NAS_BENCH_201)}


def get_space(name: str) -> SearchSpace:
    """The space called `name`; ConfigError, with what there is, for another."""
    if name not in SPACES:
        raise ConfigError(f"unknown space {name!r}; there is: {', '.join(SPACES)}")
    return SPACES[name]
