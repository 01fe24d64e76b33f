"""Several strategies as one: `pc-darts+beta`.

No strategy knows another. Two do not combine where both decide the same thing, where one has a
trait that the other conflicts with, or where their settings differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

from sdedge.errors import ConfigError
from sdedge.nas.strategy import Strategy
from sdedge.nas.traits import Trait

# What a combination has from one of its parts alone.
_DECISIONS = {
    "partial": "which channels operations read",
    "extra_operations": "what an edge has beyond the operations of the space",
    "relax": "how alpha becomes mixing weights",
    "initial_alphas": "where alpha starts",
    "sample": "what is drawn for a pass",
    "perturb": "what the weight step mixes with",
    "auxiliary_loss": "what is added to every loss",
    "alpha_gradient": "alpha's gradient",
    "derive": "how the genotype is derived",
    "on_epoch_end": "what is fixed after an epoch",
    "measure": "what an epoch measures",
    "stop": "when to stop",
    "go_back": "when to go back",
    "stages": "the stages",
}
# What the loop itself does not do together.
_LOOP = {
    (Trait.STAGES, Trait.STOP): "its stages go on to their ends",
    (Trait.STAGES, Trait.GO_BACK): "its stages go on to their ends",
    (Trait.GO_BACK, Trait.STOP): "it restores an earlier epoch, and the other ends the search",
}


def combine(parts: Sequence[Strategy], usual: Strategy) -> Strategy:
    """One strategy of several, each of which may change other things of `usual` than the others.

    Penalties add up. Raises ConfigError, with the reason, for parts that do not combine.
    """
    for first, second in combinations(parts, 2):
        if reason := incompatibility(first, second, usual):
            raise ConfigError(reason)
    merged = {field.name: _merged(field.name, parts, usual) for field in fields(Strategy)}
    merged["name"] = "+".join(part.name for part in parts)
    merged["summary"] = "; ".join(part.summary for part in parts)
    merged["paper"] = " ".join(dict.fromkeys(part.paper for part in parts))
    return replace(usual, **merged)


def check_alone(strategy: Strategy, usual: Strategy) -> None:
    """Raise ConfigError for a strategy that has two traits which one search cannot have."""
    has = traits(strategy, usual)
    for (first, second), reason in _LOOP.items():
        if {first, second} <= has:
            both = f"{first.name} and {second.name}"
            raise ConfigError(f"strategy {strategy.name} cannot have both {both}: {reason}")


def incompatibility(first: Strategy, second: Strategy, usual: Strategy) -> str | None:
    """Why two strategies do not combine, in a sentence; None where they do."""
    for one, other in ((first, second), (second, first)):
        mine, yours = traits(one, usual), traits(other, usual)
        loop = {trait: reason for (own, trait), reason in _LOOP.items() if own in mine}
        for trait, reason in {**loop, **one.conflicts}.items():
            if trait in yours:
                return f"{one.name} does not combine with {other.name}: {reason}"
    both = f"{first.name} and {second.name} do not combine"
    for field, what in _DECISIONS.items():
        if all(getattr(part, field) != getattr(usual, field) for part in (first, second)):
            return f"{both}: each decides {what}"
    for field in ("settings", "schedules"):
        ours, theirs = getattr(first, field), getattr(second, field)
        for key in ours:
            if key in theirs and ours[key] != theirs[key]:
                return f"{both}: their {field} differ in {getattr(key, 'name', key)}"
    return None


def traits(strategy: Strategy, usual: Strategy) -> frozenset[Trait]:
    """What a strategy has: what it declares, and what follows from how it differs from `usual`."""
    follows = {
        Trait.OWN_RELAXATION: strategy.relax != usual.relax,
        Trait.PERTURBED_WEIGHTS: strategy.perturb is not None,
        Trait.PARTIAL_CHANNELS: strategy.partial > 1,
        Trait.EXTRA_OPERATIONS: bool(strategy.extra_operations),
        Trait.SECOND_ORDER: strategy.second_order,
        Trait.COMPANION: strategy.auxiliary_loss is not None,
        Trait.STAGES: strategy.stages is not None,
        Trait.STOP: strategy.stop is not None,
        Trait.GO_BACK: strategy.go_back is not None,
    }
    return strategy.traits | {trait for trait, present in follows.items() if present}


def _merged(field: str, parts: Sequence[Strategy], usual: Strategy) -> Any:
    """The field of a combination of compatible parts."""
    default = getattr(usual, field)
    values = [value for part in parts if (value := getattr(part, field)) != default]
    if isinstance(default, tuple):
        return tuple(item for value in values for item in value)
    if isinstance(default, frozenset):
        return frozenset().union(*values)
    if isinstance(default, Mapping):
        return {key: item for value in reversed(values) for key, item in value.items()}
    return values[0] if values else default
