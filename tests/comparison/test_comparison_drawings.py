"""The pictures of a comparison: what is in them, and where."""

from pathlib import Path
from typing import Any

import pytest

from sdedge.analysis.trajectories import draw_trajectories, trajectories_figure
from sdedge.comparison.drawing import comparison_figure, draw_comparison
from sdedge.errors import ConfigError

BEST = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}


def epochs(*accuracies: float) -> list[dict[str, Any]]:
    return [
        {"epoch": n, "standings": {name: {"accuracy": a} for name in BEST}}
        for n, a in enumerate(accuracies, 1)
    ]


def rows(*trials: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"method": method, "test_accuracy": accuracy} for method, accuracy in trials]


def test_a_dot_a_seed_and_a_bar_at_the_mean() -> None:
    found = rows(("darts", 0.5), ("darts", 0.7), ("beta", 0.9))
    figure = comparison_figure(["beta", "darts"], found, {"test %": 95.0})
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "test %"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["beta", "darts"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert ([90.0], [0]) in drawn
    assert ([50.0, 70.0], [1, 1]) in drawn
    assert ([60.0, 60.0], [0.7, 1.3]) in [([round(x) for x in xs], ys) for xs, ys in drawn]
    assert ([95.0, 95.0], [0, 1]) in drawn
    assert axes.get_ylim() == (1.5, -0.5), "the first method is on top"


def test_without_other_accuracies_the_supernets_are_drawn() -> None:
    figure = comparison_figure(["darts"], [{"method": "darts", "valid_accuracy": 0.25}], {})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["supernet %"]


def test_a_line_is_the_mean_and_a_stopped_seed_stays_where_it_was() -> None:
    found = {
        "darts": [epochs(80, 90, 94), epochs(70, 80)],
        "beta": [epochs(60, 61, 62), epochs(80, 81, 82)],
    }
    figure = trajectories_figure(found, BEST)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "CIFAR-10",
        "CIFAR-100",
        "ImageNet-16-120",
    ]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["darts"].get_ydata()) == [75, 85, 87]
    assert list(lines["beta"].get_ydata()) == [70, 71, 72]
    assert list(lines["darts"].get_xdata()) == [1, 2, 3]
    assert figure.axes[0].get_ylim()[0] == 60, "the lowest seed is in the picture"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["best cell", "darts", "beta"]


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_equal_comparisons_give_equal_files(tmp_path: Path, suffix: str) -> None:
    for folder in ("one", "two"):
        path = tmp_path / folder
        path.mkdir()
        draw_comparison(["darts"], rows(("darts", 0.5)), {}, path / f"c.{suffix}")
        draw_trajectories({"darts": [epochs(80, 90)]}, BEST, path / f"e.{suffix}")
    for name in (f"c.{suffix}", f"e.{suffix}"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with pytest.raises(ConfigError, match=r"must end in \.svg or \.png"):
        draw_comparison(["darts"], rows(("darts", 0.5)), {}, tmp_path / "c.pdf")
