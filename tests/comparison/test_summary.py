"""The table of a comparison."""

from typing import Any

import pytest

from sdedge.comparison.method import Method
from sdedge.comparison.plan import Plan
from sdedge.comparison.summary import ACCURACIES, COLUMNS, PARTS, summarise

PLAN = Plan(
    methods=tuple(Method(name, {"strategy": name}) for name in ("beta", "darts", "gdas")),
    seeds=(1, 2),
    preset="paper",
)


def row(method: str, seed: int, **figures: Any) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "params": 1_234_567,
        "skip_count": seed,
        "collapsed": seed == 2,
        **figures,
    }


ROWS = [
    row("darts", 1, test_accuracy=0.5, search_seconds=10.0, peak_memory_bytes=2**30),
    row("darts", 2, test_accuracy=0.53, search_seconds=14.0, peak_memory_bytes=2**31),
    row("beta", 1, search_seconds=1234.5),
]


def test_means_and_sample_deviations_in_the_order_of_the_plan() -> None:
    table = summarise(PLAN, ROWS, {})
    assert table.columns == (
        *("method", "seeds", "test %", "search s", "peak MiB", "params k", "skips", "collapsed"),
    )
    # 50 and 53: the sample standard deviation is 3 / sqrt(2).
    assert table.rows == (
        ("beta", "1", "", "1,234", "", "1,235", "1.00", "0 of 1"),
        (
            *("darts", "2", "51.50 ± 2.12", "12 ± 3", "1,536 ± 724", "1,235 ± 0"),
            *("1.50 ± 0.71", "1 of 2"),
        ),
    )


def test_the_figures_of_the_paper_stand_below() -> None:
    table = summarise(PLAN, ROWS, {"darts": {"test %": "97.00 ± 0.14"}}, ACCURACIES)
    assert table.rows[1:] == (
        ("darts", "2", "51.50 ± 2.12"),
        ("  paper", "", "97.00 ± 0.14"),
    )
    assert (
        len(summarise(PLAN, ROWS, {"darts": {"test %": "97.00"}}, PARTS["What the cells are"]).rows)
        == 2
    )


def test_standings_are_columns() -> None:
    standings = {
        name: {"accuracy": accuracy, "rank": 1, "gap": 0.0}
        for name, accuracy in (("cifar10", 94.37), ("cifar100", 73.5), ("imagenet16-120", 47.0))
    }
    table = summarise(PLAN, [row("gdas", 1, standings=standings)], {}, COLUMNS[:5])
    assert table.columns[2:] == ("C10 %", "C100 %", "IN16 %", "C10 rank")
    assert table.rows == (("gdas", "1", "94.37", "73.50", "47.00", "1"),)


def test_markdown_and_latex_are_whole_tables() -> None:
    table = summarise(PLAN, ROWS, {}, ACCURACIES)
    assert table.markdown() == (
        "| method | seeds | test % |\n| --- | ---: | ---: |\n"
        "| beta | 1 |  |\n| darts | 2 | 51.50 ± 2.12 |\n"
    )
    latex = table.latex()
    assert latex.startswith("\\begin{tabular}{lrr}\n\\toprule\nmethod & seeds & test \\% \\\\\n")
    assert "darts & 2 & 51.50 $\\pm$ 2.12 \\\\\n\\bottomrule\n" in latex


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
def test_a_trial_without_a_figure_leaves_it_out(column: Any) -> None:
    given = {"method": "darts", "seed": 1}
    assert column.read(given) is None
