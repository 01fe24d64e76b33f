"""`sdedge nasbench query`: what it prints about a cell, and how it fails."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sdedge.cli.main import app
from sdedge.space.nasbench201.cell import Nb201Cell

SKIPS = Nb201Cell(("skip_connect",) * 6).to_arch()
CONVS = Nb201Cell(("nor_conv_3x3",) * 6).to_arch()


def query(*arguments: str | Path) -> Result:
    # Wide enough that no name is folded.
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, ["nasbench", "query", *map(str, arguments)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "table.csv"
    file.write_text(
        "arch,cifar10_test,cifar100_test,imagenet16_120_test\n"
        f"{SKIPS},54.30,15.61,16.32\n"
        f"{CONVS},93.76,70.71,15\n"
    )
    return file


def test_a_cell_is_looked_up_as_json(table: Path) -> None:
    result = query(SKIPS, "--benchmark-table", table, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "table_cells": 2,
        "cells": [
            {
                "arch": SKIPS,
                "params": 73_306,
                "macs": 7_783_040,
                "standings": {
                    "cifar10": {"accuracy": 54.3, "rank": 2, "gap": 39.46},
                    "cifar100": {"accuracy": 15.61, "rank": 2, "gap": 55.1},
                    "imagenet16-120": {"accuracy": 16.32, "rank": 1, "gap": 0.0},
                },
            }
        ],
    }
    assert SKIPS in result.stderr


def test_people_read_a_table(table: Path) -> None:
    result = query(CONVS, "--benchmark-table", table)
    assert result.exit_code == 0, result.output
    for text in (CONVS, "1,531,546 parameters", "220,119,680", "cifar100", "93.76%", "2 of 2"):
        assert text in result.stdout
    assert "1.32" in result.stdout, "the distance on imagenet16-120"
    assert SKIPS not in result.stdout
    assert "not on images of your own" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "archs"),
    [
        (["--best"], [CONVS, SKIPS]),
        (["--best", "cifar10"], [CONVS]),
        (["imagenet16-120", "--best"], [SKIPS]),
    ],
)
def test_the_best_of_one_data_set_or_of_each_are_found(
    arguments: list[str], archs: list[str], table: Path
) -> None:
    result = query(*arguments, "--benchmark-table", table, "--json")
    assert result.exit_code == 0, result.output
    assert [entry["arch"] for entry in json.loads(result.stdout)["cells"]] == archs


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to look up; give an arch string, or --best"),
        (["|conv~0|"], "arch '|conv~0|': 1 nodes"),
        (["--best", "svhn"], "unknown data set 'svhn'"),
        ([Nb201Cell(("none",) * 6).to_arch()], "table.csv has no entry for |none~0|"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_1(
    arguments: list[str], complaint: str, table: Path
) -> None:
    result = query("--benchmark-table", table, *arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert not result.stdout


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    result = query("--best", "--benchmark-table", tmp_path / "gone.csv")
    assert result.exit_code == 1
    assert f"no benchmark table {tmp_path / 'gone.csv'}" in result.stderr


def test_a_table_is_needed() -> None:
    result = query(SKIPS)
    assert result.exit_code == 2
    assert "--benchmark-table" in result.stderr
