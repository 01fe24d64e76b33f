"""Search methods by name, each in the file of its paper."""

from sdedge.errors import ConfigError
from sdedge.search.strategies.darts import DARTS, DARTS_SECOND_ORDER
from sdedge.search.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (DARTS, DARTS_SECOND_ORDER)
}


def get_strategy(name: str) -> Strategy:
    """The strategy called `name`; ConfigError lists what there is."""
    if name not in STRATEGIES:
        raise ConfigError(f"unknown strategy {name!r}; there is: {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
