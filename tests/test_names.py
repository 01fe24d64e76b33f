"""Names are found in any case and with any hyphens, and the closest one is offered else."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdedge.cli.main import app
from sdedge.comparison.method import Method
from sdedge.comparison.recipes import RECIPES, get_recipe
from sdedge.config import SearchConfig, TrainConfig
from sdedge.data.catalog import DATASETS, load_dataset
from sdedge.deploy.targets.target import list_targets, load_target
from sdedge.errors import ConfigError, DataError, GenotypeError, SdedgeError, TargetError
from sdedge.genotype import load_genotype, published
from sdedge.names import choose, find_name, suggestion
from sdedge.nas.strategies import STRATEGIES, get_strategy
from sdedge.nas.tasks import TASKS, task_name
from sdedge.pipeline.settings import resolve_preset, with_absolute_paths
from sdedge.space.nasbench201 import benchmark_table

TARGETS = [target.name for target in list_targets()]
KNOWN = {
    "strategies": [*STRATEGIES],
    "tasks": [*TASKS],
    "strategies and tasks": [*STRATEGIES, *TASKS, "random"],
    "recipes": [*RECIPES],
    "genotypes": [*published()],
    "targets": [*TARGETS, "host"],
    "data sets": [*DATASETS],
    "presets": ["auto", *{*SearchConfig.presets(), *TrainConfig.presets()}],
    "table": [*benchmark_table.DATASETS],
}


@pytest.mark.parametrize("names", KNOWN.values(), ids=KNOWN)
def test_no_two_names_differ_in_case_and_hyphens_alone(names: list[str]) -> None:
    for name in names:
        for spelling in (name, name.upper(), name.lower(), name.replace("-", "_")):
            assert find_name(spelling, names) == name
        assert find_name(name.replace("-", "").replace("_", ""), names) == name


def test_exactly_this_name_goes_first() -> None:
    assert find_name("A-b", ["a_b", "A-b"]) == "A-b"
    assert find_name("ab", []) is None


def test_the_closest_name_is_offered() -> None:
    assert suggestion("Semntic", TASKS) == " (did you mean semantic?)"
    assert suggestion("nothing like it", TASKS) == ""
    with pytest.raises(DataError) as caught:
        choose("bbb\x1b", ["bbb", "c"], "letter", error=DataError)
    assert str(caught.value) == r"unknown letter 'bbb\x1b' (did you mean bbb?); choose from bbb, c"


def test_each_kind_of_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert get_strategy("PC_DARTS+Beta") is not None
    assert get_strategy("PC_DARTS+Beta").name == "pc-darts+beta"
    assert task_name("Masked_Classification") == "masked-classification"
    assert get_recipe("Table_3").name == "table-3"
    assert load_genotype("darts-v2") == published()["DARTS_V2"].genotype
    assert load_target("Cortex_M4").name == "cortex-m4"
    assert load_dataset("Shapes", tmp_path).name == "shapes"
    assert resolve_preset("Quick", {}) == "quick"
    assert resolve_preset("AUTO", {"device": "cpu"}) == "quick"
    assert with_absolute_paths({"dataset": "CIFAR-10"})["dataset"] == "cifar10"
    config = SearchConfig.from_preset("paper", {"space": "NASBench201", "impl": "Reference"})
    assert (config.space, config.impl, config.cells) == ("nas-bench-201", "reference", 5)


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("Semantic", "semantic"),
        ("PC_DARTS+Beta@MIM:mask_fill=1", "pc-darts+beta@mim:mask_fill=1"),
        ("RANDOM", "random"),
    ],
)
def test_methods_of_a_comparison_have_the_names_as_they_are_spelled(label: str, found: str) -> None:
    method = Method.parse(label, STRATEGIES, TASKS)
    assert method == Method.parse(found, STRATEGIES, TASKS)
    assert method.label == found


def test_a_folder_goes_before_a_name_that_is_not_spelled_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Shapes").mkdir()
    (tmp_path / "darts-v2").mkdir()
    assert with_absolute_paths({"dataset": "Shapes"})["dataset"] == str(tmp_path / "Shapes")
    assert with_absolute_paths({"dataset": "shapes"})["dataset"] == "shapes"
    with pytest.raises(GenotypeError):
        load_genotype("darts-v2")


@pytest.mark.parametrize(
    ("look", "error", "offered"),
    [
        (lambda: get_strategy("pc-dart"), ConfigError, "pc-darts"),
        (lambda: task_name("rotations"), ConfigError, "rotation"),
        (lambda: get_recipe("table-33"), ConfigError, "table-3"),
        (lambda: load_genotype("DARTS_V3"), GenotypeError, "DARTS_V"),
        (lambda: load_target("cortexm5"), TargetError, "cortex-m4"),
        (lambda: load_dataset("cifar", Path()), DataError, "cifar10"),
        (lambda: SearchConfig.from_preset("papers", {}), ConfigError, "paper"),
        (lambda: SearchConfig.from_preset("paper", {"epoch": 3}), ConfigError, "epochs"),
        (lambda: Method.parse("bet", STRATEGIES, TASKS), ConfigError, "beta"),
    ],
)
def test_each_unknown_name_gets_the_closest_one(
    look: object, error: type[SdedgeError], offered: str
) -> None:
    assert callable(look)
    with pytest.raises(error, match=rf"did you mean {offered}"):
        look()


def test_a_search_records_names_as_they_are_spelled() -> None:
    bad = ["search", "--dataset", "Shapes", "--strategy", "PC_DARTS", "--task", "MIM", "--cells"]
    result = CliRunner().invoke(app, [*bad, "0"])
    assert "cells is 0" in result.output


@pytest.mark.parametrize("value", ["3", "null", "[1]", '{"a": 1}', "true"])
@pytest.mark.parametrize("name", ["strategy", "task", "space", "dataset", "data_root", "device"])
def test_settings_of_another_type_are_refused(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["search", "--set", f"{name}={value}"])
    assert result.exit_code == 1, result.output
    assert name in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
