"""`sdedge compare`, and a search in NAS-Bench-201's space with its look-up."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sdedge.cli.main import app
from sdedge.loop.events import Stopping
from sdedge.space.nasbench201.benchmark_table import CSV_COLUMNS
from sdedge.space.nasbench201.cell import all_cells

SMALL = (
    *("--dataset", "shapes", "--image-size", "16", "--patch-size", "4", "--device", "cpu"),
    *("--space", "nas-bench-201", "--preset", "demo", "--channels", "2", "--cells", "1"),
    *("--epochs", "2", "--batch-size", "8", "--epoch-images", "16", "--valid-images", "8"),
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every cell of the space; the first is the best."""
    file = tmp_path_factory.mktemp("table") / "table.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(CSV_COLUMNS)
        for number, cell in enumerate(all_cells()):
            accuracy = 90 - number / 1000
            writer.writerow((cell.to_arch(), accuracy, accuracy - 10, accuracy - 20))
    return file


def sdedge(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*map(str, arguments)])


def test_a_search_tells_what_the_cell_of_each_epoch_reaches_by_a_table_that_came_later(
    tmp_path: Path, data_root: Path, table: Path
) -> None:
    run = tmp_path / "run"
    first = sdedge("search", *SMALL, "--data-root", data_root, "--run", run)
    assert first.exit_code == 0, first.output
    assert not (run / "benchmark.json").exists()
    result = sdedge("search", "--resume", "--run", run, "--benchmark-table", table, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["genotype"]["space"] == "nas-bench-201"
    assert value["benchmark"]["arch"] == value["genotype"]["arch"]
    assert "of 15,625" in result.stderr
    written = json.loads((run / "benchmark.json").read_text())
    assert [epoch["epoch"] for epoch in written["epochs"]] == [1, 2]
    assert written["epochs"][-1]["standings"] == value["benchmark"]["standings"]
    assert written["best"] == {"cifar10": 90.0, "cifar100": 80.0, "imagenet16-120": 70.0}
    for name in ("cell.svg", "cell.png", "benchmark.svg", "benchmark.png"):
        assert (run / name).stat().st_size > 1000

    of_run = sdedge("nasbench", "query", run, "--benchmark-table", table, "--json")
    assert json.loads(of_run.stdout)["cells"] == [value["benchmark"]]

    trained = sdedge("train", "--run", run)
    assert trained.exit_code == 1
    assert "a genotype of the search space 'nas-bench-201'" in trained.stderr


def test_methods_are_compared_and_a_second_time_read(
    tmp_path: Path, data_root: Path, table: Path
) -> None:
    run = tmp_path / "comparison"
    result = sdedge(
        "compare", *SMALL, "--data-root", data_root, "--benchmark-table", table, "--run", run,
        "--recipe", "table-3", "--strategies", "darts,beta@semantic", "--seeds", "1,2", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert [(row["method"], row["seed"]) for row in value["rows"]] == [
        (method, seed) for seed in (1, 2) for method in ("darts", "beta@semantic", "random")
    ]
    assert "5 of 6: beta@semantic, seed 2; about " in result.stderr
    for text in ("table-3", "channels 2 (published: 16)", "seeds: 1, 2 (published: four)", "paper"):
        assert text in result.stderr
    assert "C10 %, C100 %, IN16 % are the table's" in result.stderr
    assert "None of them is an accuracy on the images of shapes" in result.stderr
    for name in ("comparison.svg", "comparison.png", "epochs.svg", "epochs.png"):
        assert (run / name).stat().st_size > 1000

    again = sdedge("compare", "--resume", "--run", run, "--markdown")
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("| method | seeds | C10 % |")
    assert "loss" not in again.stderr, "nothing was searched again"
    fewer = sdedge("compare", "--resume", "--run", run, "--seeds", "2", "--json")
    assert {row["seed"] for row in json.loads(fewer.stdout)["rows"]} == {2}
    latex = sdedge("compare", "--resume", "--run", run, "--latex")
    assert latex.stdout.startswith(r"\begin{tabular}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--strategies", "darts", "--markdown", "--latex"), "exclude each other"),
        (("--strategies", "nothing"), "'nothing' is neither a strategy"),
        (("--strategies", "darts", "--seeds", "one"), "seeds are 'one'; they must be integers"),
        ((), "no methods to compare: --strategies darts,semantic, or --recipe table-3"),
        (("--strategies", "darts", "--set", "seed=3"), "a comparison has several: --seeds"),
        (("--strategies", "darts", "--train-set", "epochs=3"), "and no --train"),
        (("--recipe", "table-1"), "unknown recipe 'table-1'"),
        (("--resume",), "the folder of a comparison: --run FOLDER"),
        (("--strategies", "darts", "--set", "chanels=3"), "unknown settings chanels"),
        (("--strategies", "darts", "--train", "paper", "--space", "nas-bench-201"), "not trained"),
        (("--strategies", "darts", "--benchmark-table", "t.csv"), "benchmark_table is"),
        (
            ("--strategies", "darts", *SMALL, "--benchmark-table", "t.csv"),
            "no benchmark table",
        ),
        (("--resume", "--run", "x", "--preset", "demo", "--no-random"), "--preset, --random"),
        (("--strategies", "darts,semantic:patch_size=5", *SMALL), "method semantic:patch_size=5"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = sdedge("compare", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_failed_trial_is_told_and_the_others_go_on(tmp_path: Path, data_root: Path) -> None:
    run = tmp_path / "comparison"
    result = sdedge(
        "compare", *SMALL, "--data-root", data_root, "--run", run, "--seeds", "1", "--no-random",
        "--strategies", "darts:weight_lr=1e30,beta",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "1 of 2 trials failed: darts:weight_lr=1e30, seed 1" in result.stderr
    assert "failed: the search diverged" in result.stdout
    table = result.stdout[result.stdout.index("What the searches took") :]
    assert "beta" in table
    assert "weight_lr" not in table


def test_a_table_may_lack_cells_and_come_later(tmp_path: Path, data_root: Path) -> None:
    run, table = tmp_path / "comparison", tmp_path / "few.csv"
    result = sdedge(
        "compare", *SMALL, "--data-root", data_root, "--run", run, "--seeds", "1", "--no-random",
        "--strategies", "darts",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    genotype = json.loads((run / "comparison.json").read_text())["rows"][0]["genotype"]
    other = next(cell for cell in all_cells() if cell.to_arch() != genotype["arch"])
    table.write_text(f"{','.join(CSV_COLUMNS)}\n{other.to_arch()},90,80,70\n")
    again = sdedge("compare", "--resume", "--run", run, "--benchmark-table", table)
    assert again.exit_code == 0, again.output
    assert "the table does not hold the cells of 1 trials" in again.stdout


def test_a_stop_at_the_end_of_a_trial_is_one_of_the_comparison(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_moment(*arguments: Any) -> dict[str, Any]:
        place, reporter = arguments[3], arguments[5]
        place.mkdir(parents=True)
        (place / "trial.json").write_text("{}")
        reporter(Stopping())
        return {"method": "darts", "seed": 1, "collapsed": False}

    monkeypatch.setattr("sdedge.pipeline.trials.run_trial", last_moment)
    run = tmp_path / "comparison"
    result = sdedge(
        "compare", *SMALL, "--data-root", data_root, "--run", run, "--seeds", "1,2",
        "--strategies", "darts", "--no-random",
    )  # fmt: skip
    assert result.exit_code == 130
    assert f"sdedge compare --resume --run {run}" in result.stderr.replace("\n", "")
    assert "1 of 2: darts, seed 1" in result.stdout
    assert "2 of 2" not in result.stdout
    assert "comparison.json" in result.stdout, "what is done is shown"


def test_a_comparison_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    result = sdedge("compare", "--strategies", "darts", "--run", tmp_path)
    assert result.exit_code == 1
    assert f"sdedge compare --resume --run {tmp_path}" in result.stderr.replace("\n", "")
