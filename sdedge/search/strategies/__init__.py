"""Search methods by name, each in the file of its paper, alone or combined: `pc-darts+beta`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.names import choose
from sdedge.search.strategies.adarts import ADARTS
from sdedge.search.strategies.beta_darts import BETA_DARTS
from sdedge.search.strategies.cdarts import CDARTS
from sdedge.search.strategies.darts import DARTS, DARTS_SECOND_ORDER
from sdedge.search.strategies.darts_minus import DARTS_MINUS
from sdedge.search.strategies.darts_plus import DARTS_PLUS
from sdedge.search.strategies.darts_pt import DARTS_PT
from sdedge.search.strategies.dots import DOTS
from sdedge.search.strategies.fair_darts import FAIR_DARTS
from sdedge.search.strategies.gdas import GDAS
from sdedge.search.strategies.p_darts import P_DARTS
from sdedge.search.strategies.pc_darts import PC_DARTS
from sdedge.search.strategies.robust_darts import (
    ROBUST_ADAPTIVE,
    ROBUST_DROP_PATH,
    ROBUST_L2,
    ROBUST_STOP,
)
from sdedge.search.strategies.sdarts import SDARTS_ADV, SDARTS_RS
from sdedge.search.strategies.snas import SNAS
from sdedge.search.strategy import Strategy

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

_LABELS = ("name", "summary", "paper", "excludes")
# What a combination may have from one of its parts alone.
_DECISIONS = {
    "initial_alphas": "where alpha starts",
    "relax": "how alpha becomes mixing weights",
    "sample": "what is drawn for a pass",
    "perturb": "what the weight step mixes with",
    "beside": "what is added to every loss",
    "alpha_gradient": "alpha's gradient",
    "derive": "how the genotype is derived",
    "decide": "what is decided after an epoch",
    "measure": "what an epoch measures",
    "stop": "when to stop",
    "go_back": "when to go back",
    "stages": "the stages",
}


def get_strategy(name: str) -> Strategy:
    """The strategy called `name`, or the combination of those that `+` joins.

    Raises ConfigError for a name that is unknown, with what there is, or given twice, and for
    parts that do not combine, with the reason.
    """
    names = [choose(part, STRATEGIES, "strategy") for part in str(name).split("+")]
    if len(set(names)) < len(names):
        raise ConfigError(f"strategy {name!r} names a part twice")
    parts = [STRATEGIES[part] for part in names]
    return parts[0] if len(parts) == 1 else combine(parts)


def strategy_for(config: SearchConfig) -> Strategy:
    """The strategy that `config` names; ConfigError where it does not apply to its space."""
    strategy = get_strategy(config.strategy)
    if reason := strategy.excluded_spaces.get(config.space):
        raise ConfigError(f"{strategy.name} does not apply to {config.space}: {reason}")
    return strategy


def combine(parts: Sequence[Strategy]) -> Strategy:
    """One strategy of several, each of which may change other things than the others.

    Penalties add up. Raises ConfigError, with the reason, for parts that do not combine.
    """
    for part in parts:
        for other in parts:
            if other.name in part.excludes:
                reason = part.excludes[other.name]
                raise ConfigError(f"{part.name} does not combine with {other.name}: {reason}")
    changes: dict[str, Any] = {
        "name": "+".join(part.name for part in parts),
        "summary": "; ".join(part.summary for part in parts),
        "paper": " ".join(dict.fromkeys(part.paper for part in parts)),
    }
    others = [field.name for field in fields(Strategy) if field.name not in _LABELS]
    for field in sorted(others, key=lambda field: field not in _DECISIONS):
        changes[field] = _merged(field, parts)
    return replace(DARTS, **changes)


def _merged(field: str, parts: Sequence[Strategy]) -> Any:
    usual = getattr(DARTS, field)
    given = {part.name: value for part in parts if (value := getattr(part, field)) != usual}
    if not given:
        return usual
    values = list(given.values())
    if field in _DECISIONS and len(values) > 1:
        raise ConfigError(f"{' and '.join(given)} do not combine: each decides {_DECISIONS[field]}")
    if isinstance(usual, tuple):
        return tuple(item for value in values for item in value)
    if isinstance(usual, Mapping):
        return _joined(field, given)
    return values[0]


def _joined(field: str, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for values in given.values():
        for key, value in values.items():
            if joined.setdefault(key, value) != value:
                names = " and ".join(given)
                raise ConfigError(f"{names} do not combine: their {field} differ in {key}")
    return joined
