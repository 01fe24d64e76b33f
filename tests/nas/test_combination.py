"""Which strategies combine: every pair, and one that none of the others knows."""

from dataclasses import replace
from itertools import combinations

import pytest

from sdedge.errors import ConfigError
from sdedge.nas.combination import check_alone, combine
from sdedge.nas.strategies import (
    STRATEGIES,
    get_strategy,
    incompatible_with,
    register_strategy,
)
from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import Strategy
from sdedge.nas.traits import Trait

# Of every pair that does not combine the first name, and all second ones after it in the registry.
REFUSED = {
    "darts-2nd": "p-darts robust-dp gdas snas cdarts",
    "fair-darts": "pc-darts adarts p-darts darts-minus snas cdarts dots",
    "sdarts-rs": "sdarts-adv cdarts dots",
    "sdarts-adv": "cdarts dots",
    "pc-darts": "adarts p-darts darts-minus gdas snas cdarts dots darts-pt",
    "adarts": "p-darts darts-minus gdas snas cdarts dots darts-pt",
    "p-darts": "darts-plus robust-es robust-ada gdas snas cdarts dots darts-pt",
    "darts-minus": "gdas snas cdarts dots darts-pt",
    "darts-plus": "robust-es robust-ada dots darts-pt",
    "robust-es": "robust-ada dots darts-pt",
    "robust-ada": "dots darts-pt",
    "gdas": "snas cdarts dots darts-pt",
    "snas": "cdarts dots darts-pt",
    "cdarts": "dots",
    "dots": "darts-pt",
}


@pytest.mark.parametrize("first", STRATEGIES)
@pytest.mark.parametrize("second", STRATEGIES)
def test_every_pair_combines_or_is_refused(first: str, second: str) -> None:
    names = list(STRATEGIES)
    one, other = sorted((first, second), key=names.index)
    refused = first == second or other in REFUSED.get(one, "").split()
    if refused:
        with pytest.raises(ConfigError, match=r"not combine|names a part twice"):
            get_strategy(f"{first}+{second}")
    else:
        assert get_strategy(f"{first}+{second}").name == f"{first}+{second}"


def test_the_reasons_against_a_strategy_name_both() -> None:
    reasons = incompatible_with(STRATEGIES["gdas"])
    assert reasons["darts-2nd"] == (
        "darts-2nd does not combine with gdas: "
        "it takes one loss at several weights, and a draw differs each time"
    )
    assert set(reasons) == {
        *(first for first, others in REFUSED.items() if "gdas" in others.split()),
        *REFUSED["gdas"].split(),
    }
    assert all("gdas" in reason and other in reason for other, reason in reasons.items())


def toy(**changes: object) -> Strategy:
    return replace(DARTS, name="toy", **changes)  # type: ignore[arg-type]


def refused(strategy: Strategy) -> set[str]:
    with register_strategy(strategy):
        return set(incompatible_with(strategy))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (toy(), set()),
        (toy(traits=frozenset({Trait.DRAWN_WEIGHTS})), {"darts-2nd", "cdarts", "dots", "darts-pt"}),
        (toy(traits=frozenset({Trait.RANDOM_PASSES})), {"darts-2nd"}),
        (
            toy(stop=lambda records: None),
            {"darts-plus", "robust-es", "robust-ada", "p-darts", "dots", "darts-pt"},
        ),
        (toy(extra_operations=("skip_connect",)), {"darts-minus", "cdarts", "dots", "darts-pt"}),
        (toy(conflicts={Trait.PARTIAL_CHANNELS: "it reads all"}), {"pc-darts", "adarts"}),
        (
            toy(settings={"alpha_lr": 1.0}),
            {"pc-darts", "adarts", "fair-darts", "p-darts", "cdarts"},
        ),
    ],
    ids=["nothing", "draws", "random", "stops", "one more operation", "conflict", "setting"],
)
def test_a_new_strategy_is_held_to_what_it_has_without_being_known(
    strategy: Strategy, expected: set[str]
) -> None:
    assert refused(strategy) == expected


def test_three_parts_that_combine_in_pairs_combine() -> None:
    names = ("beta", "sdarts-rs", "robust-l2")
    whole = get_strategy("+".join(names))
    assert whole.settings == STRATEGIES["robust-l2"].settings
    assert whole.perturb is STRATEGIES["sdarts-rs"].perturb
    for first, second in combinations(names, 2):
        assert combine([STRATEGIES[first], STRATEGIES[second]], DARTS)


def test_both_spaces_that_parts_exclude_are_excluded() -> None:
    first = toy(excluded_spaces={"darts": "the first says so"})
    second = replace(first, name="other", excluded_spaces={"darts": "no", "nas-bench-201": "nor"})
    spaces = combine([first, second], DARTS).excluded_spaces
    assert spaces == {"darts": "the first says so", "nas-bench-201": "nor"}


def test_a_registered_strategy_is_known_by_name_to_the_end_of_its_block() -> None:
    with register_strategy(toy()):
        assert get_strategy("TOY+beta").name == "toy+beta"
        with pytest.raises(ConfigError, match="there is a strategy toy already"):
            register_strategy(replace(DARTS, name="To_y"))
    with pytest.raises(ConfigError, match="unknown strategy 'toy'"):
        get_strategy("toy")


def test_a_strategy_that_stops_within_stages_is_refused() -> None:
    contradictory = toy(stop=lambda records: None, stages=STRATEGIES["p-darts"].stages)
    with pytest.raises(ConfigError, match="toy cannot have both STAGES and STOP: its stages go on"):
        register_strategy(contradictory)
    assert "toy" not in STRATEGIES


def test_the_strategies_that_ship_contradict_nothing() -> None:
    for strategy in STRATEGIES.values():
        check_alone(strategy, DARTS)


def test_a_registration_is_undone_once_and_takes_out_no_other() -> None:
    first = register_strategy(toy())
    assert get_strategy("toy") == toy()
    first.undo()
    with register_strategy(toy(summary="another")):
        first.undo()
        assert get_strategy("toy").summary == "another"


@pytest.mark.parametrize("name", ["", "a+b", "a b", "a:b", "a@b", "a,b", "a=b"])
def test_a_name_that_options_could_not_spell_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a strategy"):
        register_strategy(replace(DARTS, name=name))
    assert name not in STRATEGIES
