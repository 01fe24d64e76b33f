"""What a comparison is to run, and in what it departs from a table of the paper."""

from dataclasses import replace
from pathlib import Path

import pytest

from sdedge.comparison.method import Method
from sdedge.comparison.plan import Plan
from sdedge.comparison.recipes import RECIPES, SEEDS, get_recipe
from sdedge.comparison.trial import check_trials, protocol_deviations, trial_config
from sdedge.errors import ConfigError, RunError
from sdedge.files import write_json
from sdedge.nas.strategies import STRATEGIES
from sdedge.nas.tasks import TASKS


def methods(*labels: str) -> tuple[Method, ...]:
    return tuple(Method.parse(label, tuple(STRATEGIES), tuple(TASKS)) for label in labels)


PLAN = Plan(methods=methods("darts", "pc-darts", "random"), seeds=(1, 2), preset="paper")


def test_seeds_come_first_so_that_what_stops_early_is_balanced() -> None:
    assert [(method.label, seed) for method, seed in PLAN.trials] == [
        ("darts", 1),
        ("pc-darts", 1),
        ("random", 1),
        ("darts", 2),
        ("pc-darts", 2),
        ("random", 2),
    ]


def test_a_strategy_brings_its_settings_and_the_comparison_overrides_them() -> None:
    method = PLAN.methods[1]
    assert trial_config(PLAN, method, 2).batch_size == 256
    equal = replace(PLAN, settings={"batch_size": 64})
    assert trial_config(equal, method, 2).batch_size == 64
    own = methods("pc-darts:batch_size=32")[0]
    assert trial_config(equal, own, 2).batch_size == 32
    assert trial_config(equal, own, 2).seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ()}, "no methods to compare"),
        ({"seeds": ()}, "no seeds to compare"),
        ({"seeds": (1, 1)}, "seeds given twice: 1"),
        ({"methods": methods("darts", "darts")}, "methods given twice: darts"),
        ({"methods": methods("darts", "classification")}, "are the same method"),
        ({"train_settings": {"epochs": 3}}, "and no --train"),
    ],
)
def test_nothing_and_twice_the_same_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAN, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": methods("p-darts"), "settings": {"space": "nas-bench-201"}}, "p-darts: p-dar"),
        ({"methods": methods("darts:chanels=4")}, "method darts:chanels=4: unknown settings chan"),
        ({"train": "paper", "settings": {"space": "nas-bench-201"}}, "are looked up, not trained"),
        ({"train": "long"}, "unknown preset 'long'"),
        ({"settings": {"max_params": 100}}, "a comparison has no budget"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(
    change: dict[str, object], message: str
) -> None:
    check_trials(PLAN)
    with pytest.raises(ConfigError, match=message):
        check_trials(replace(PLAN, **change))


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = replace(PLAN, settings={"channels": 4}, train="quick", recipe="table-2")
    write_json(tmp_path / "c.json", {"plan": plan.to_dict()})
    assert Plan.read(tmp_path / "c.json") == plan
    write_json(tmp_path / "c.json", {"plan": {"methods": []}})
    with pytest.raises(RunError, match=r"c\.json is damaged"):
        Plan.read(tmp_path / "c.json")
    write_json(tmp_path / "c.json", {"plan": {**plan.to_dict(), "methods": [3]}})
    with pytest.raises(RunError, match=r"c\.json is damaged"):
        Plan.read(tmp_path / "c.json")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_run_and_cuts_nothing_as_published(name: str) -> None:
    recipe = get_recipe(name)
    plan = Plan(
        methods=methods(*recipe.methods),
        seeds=SEEDS,
        preset="paper",
        settings=recipe.settings,
        train=recipe.train,
        train_settings=recipe.train_settings,
        recipe=name,
    )
    check_trials(plan)
    assert protocol_deviations(plan, recipe) == []
    assert set(recipe.published) <= set(recipe.methods)


def test_what_is_cut_is_told() -> None:
    recipe = get_recipe("table-8")
    plan = Plan(
        methods=methods("classification", "mim:mask_fill=1", "random"),
        seeds=(2,),
        preset="paper",
        settings={"channels": 8, "device": "cpu"},
        train="paper",
        train_settings={"epochs": 10},
        recipe="table-8",
    )
    assert protocol_deviations(plan, recipe) == [
        "methods left out: masked-classification:mask_fill=1, reconstruction, semantic:mask_fill=1",
        "seeds: 2 (published: four)",
        "search: channels 8 (published: 16)",
        "training: epochs 10 (published: 600)",
    ]
    assert (
        protocol_deviations(replace(plan, train=None, train_settings={}), recipe)[-1]
        == "training: none"
    )


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'table-1'.*; choose from table-2"):
        get_recipe("table-1")
