"""The curve of what each epoch's cell reaches: its values, its labels, and room for both."""

from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sdedge.analysis.standings import draw_standings, standings_figure
from sdedge.errors import ConfigError

SVG = "{http://www.w3.org/2000/svg}"
BEST = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
CURVES = {
    "one epoch": [54.3],
    "one epoch at the best": [94.37],
    "one epoch at chance": [10.0],
    "from chance to the best": [10.0, 54.3, 94.37],
    "always the best": [94.37] * 20,
    "a hundred epochs": list(np.linspace(10, 93.9, 100)),
}


def _epochs(accuracies: list[float]) -> list[dict[str, Any]]:
    """The accuracies on CIFAR-10, and as far from the best on the other two."""
    return [
        {
            "epoch": number,
            "arch": "",
            "standings": {
                dataset: {"accuracy": accuracy * best / 94.37, "rank": 1, "gap": 0.0}
                for dataset, best in BEST.items()
            },
        }
        for number, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.fixture(params=CURVES)
def accuracies(request: pytest.FixtureRequest) -> list[float]:
    return CURVES[request.param]


def _curve(axes: Axes) -> np.ndarray:
    """The line with markers, as points (N, 2)."""
    (line,) = (line for line in axes.lines if line.get_marker() == "o")
    return line.get_xydata()


def test_lines_hold_the_accuracies_and_the_best(accuracies: list[float]) -> None:
    panels = standings_figure(_epochs(accuracies), BEST).axes
    assert len(panels) == len(BEST)
    for axes, best in zip(panels, BEST.values(), strict=True):
        expected = [(n, a * best / 94.37) for n, a in enumerate(accuracies, start=1)]
        np.testing.assert_allclose(_curve(axes), expected)
        (dashed,) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert list(dashed.get_ydata()) == [best, best]


def test_svg_names_data_sets_the_best_and_the_last(tmp_path: Path) -> None:
    draw_standings(_epochs([10.0, 54.3]), BEST, tmp_path / "benchmark.svg")
    root = ElementTree.parse(tmp_path / "benchmark.svg").getroot()
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"CIFAR-10", "CIFAR-100", "ImageNet-16-120"} <= texts
    assert {"best 94.37", "best 73.51", "best 47.31"} <= texts
    assert {"54.30", "42.30", "27.22"} <= texts
    assert "10.00" not in texts


def test_everything_is_on_the_page_and_no_label_on_another(accuracies: list[float]) -> None:
    figure = standings_figure(_epochs(accuracies), BEST)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    extents = []
    for axes in figure.axes:
        (bottom, top), (left, right) = axes.get_ylim(), axes.get_xlim()
        curve = _curve(axes)
        assert (curve > (left, bottom)).all()
        assert (curve < (right, top)).all()
        labels = [*axes.texts, axes.title, axes._left_title]
        extents += [text.get_window_extent() for text in labels if text.get_text()]
        points = axes.transData.transform(curve)
        assert not any(extent.count_contains(points) for extent in extents)
    assert len(extents) == 3 * len(BEST)
    assert not any(a.overlaps(b) for a, b in combinations(extents, 2))
    for extent in (axes.get_tightbbox() for axes in figure.axes):
        assert (extent.min >= figure.bbox.min).all()
        assert (extent.max <= figure.bbox.max).all()


def test_epochs_are_whole_numbers(accuracies: list[float]) -> None:
    for axes in standings_figure(_epochs(accuracies), BEST).axes:
        left, right = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if left < tick < right]
        assert ticks
        assert all(tick == round(tick) >= 1 for tick in ticks)


@pytest.mark.parametrize("name", ["benchmark.svg", "benchmark.png"])
def test_the_same_epochs_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        draw_standings(_epochs([10.0, 54.3]), BEST, tmp_path / folder / name)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_suffix_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.pdf.*\.svg or \.png"):
        draw_standings(_epochs([54.3]), BEST, tmp_path / "benchmark.pdf")
    assert not list(tmp_path.iterdir())
