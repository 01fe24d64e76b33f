"""Search methods by name, each in the file of its paper, alone or combined: `pc-darts+beta`."""

from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.names import choose
from sdedge.nas.combination import check_alone, combine, incompatibility
from sdedge.nas.strategies.adarts import ADARTS
from sdedge.nas.strategies.beta_darts import BETA_DARTS
from sdedge.nas.strategies.cdarts import CDARTS
from sdedge.nas.strategies.darts import DARTS, DARTS_SECOND_ORDER
from sdedge.nas.strategies.darts_minus import DARTS_MINUS
from sdedge.nas.strategies.darts_plus import DARTS_PLUS
from sdedge.nas.strategies.darts_pt import DARTS_PT
from sdedge.nas.strategies.dots import DOTS
from sdedge.nas.strategies.fair_darts import FAIR_DARTS
from sdedge.nas.strategies.gdas import GDAS
from sdedge.nas.strategies.p_darts import P_DARTS
from sdedge.nas.strategies.pc_darts import PC_DARTS
from sdedge.nas.strategies.robust_darts import (
    ROBUST_ADAPTIVE,
    ROBUST_DROP_PATH,
    ROBUST_L2,
    ROBUST_STOP,
)
from sdedge.nas.strategies.sdarts import SDARTS_ADV, SDARTS_RS
from sdedge.nas.strategies.snas import SNAS
from sdedge.nas.strategy import Strategy
from sdedge.registration import Registration, check_class, register

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        DARTS,
        DARTS_SECOND_ORDER,
        BETA_DARTS,
        FAIR_DARTS,
        SDARTS_RS,
        SDARTS_ADV,
        PC_DARTS,
        ADARTS,
        P_DARTS,
        DARTS_MINUS,
        DARTS_PLUS,
        ROBUST_L2,
        ROBUST_DROP_PATH,
        ROBUST_STOP,
        ROBUST_ADAPTIVE,
        GDAS,
        SNAS,
        CDARTS,
        DOTS,
        DARTS_PT,
    )
}


def register_strategy(strategy: Strategy) -> Registration:
    """Make a strategy from outside known by its name, alone and in combinations.

    It stays known until the registration is undone, or to the end of its `with` block. Raises
    ConfigError for a name that is taken or cannot be one, and for what no search can do, such as
    stages and a stop.
    """
    check_class(strategy, Strategy)
    check_alone(strategy, DARTS)
    return register(STRATEGIES, strategy.name, strategy, kind="strategy")


def get_strategy(name: str) -> Strategy:
    """The strategy called `name`, or the combination of those that `+` joins.

    Raises ConfigError for a name that is unknown, with what there is, or given twice, and for
    parts that do not combine, with the reason.
    """
    names = [choose(part, STRATEGIES, "strategy") for part in str(name).split("+")]
    if len(set(names)) < len(names):
        raise ConfigError(f"strategy {name!r} names a part twice")
    parts = [STRATEGIES[part] for part in names]
    return parts[0] if len(parts) == 1 else combine(parts, DARTS)


def strategy_for(config: SearchConfig) -> Strategy:
    """The strategy that `config` names; ConfigError where it does not apply to its space."""
    strategy = get_strategy(config.strategy)
    if reason := strategy.excluded_spaces.get(config.space):
        raise ConfigError(f"{strategy.name} does not apply to {config.space}: {reason}")
    return strategy


def incompatible_with(strategy: Strategy) -> dict[str, str]:
    """The strategies that one does not combine with, and why, in a sentence each."""
    reasons = {
        other.name: incompatibility(strategy, other, DARTS)
        for other in STRATEGIES.values()
        if other is not strategy
    }
    return {name: reason for name, reason in reasons.items() if reason}
