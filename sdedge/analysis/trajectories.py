"""How the cells of search methods get better or collapse, epoch by epoch, as a drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FormatStrFormatter, NullLocator

from sdedge.analysis.figure import INK, dress_epochs, save_figure
from sdedge.analysis.standings import BEST, TITLES
from sdedge.escape import printable

# Distinct on white, also for most who see colours otherwise (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLES = ("solid", "dashed", "dotted")
_TICKS = (0, 1, 5, 15, 30, 50, 80)  # points below the best
SIZE = (1200 / 72, 420 / 72)  # inches

# Method -> for each seed what `sdedge.nas.lookup.look_up_epochs` gives.
Trajectories = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]


def draw_trajectories(found: Trajectories, best: Mapping[str, float], path: Path) -> None:
    """Draw mean (line) and range (band) of what each epoch's cell reaches, a panel a data set.

    `best` has the highest accuracy in the space by data set, per cent. Seeds that ended early stay
    at their last entry. Writes and raises as `save_figure`.
    """
    save_figure(lambda: trajectories_figure(found, best), path)


def trajectories_figure(found: Trajectories, best: Mapping[str, float]) -> Figure:
    """The panels as a figure, side by side, with one legend."""
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=SIZE, dpi=72, facecolor="white", layout=layout)
    panels = figure.subplots(1, len(TITLES))
    for (dataset, title), axes in zip(TITLES.items(), panels, strict=True):
        axes.set_title(title, size=15, weight="bold", color=INK, loc="left")
        axes.axhline(
            best[dataset], color=BEST, linestyle="dashed", linewidth=1.2, label="best cell"
        )
        lowest = best[dataset]
        for number, (method, seeds) in enumerate(found.items()):
            accuracies = [[e["standings"][dataset]["accuracy"] for e in epochs] for epochs in seeds]
            _draw_method(axes, number, method, accuracies)
            lowest = min(lowest, *map(min, accuracies))
        dress_epochs(axes)
        _spread_the_top(axes, best[dataset], lowest)
    panels[0].set_ylabel("test accuracy, %, spread near the best", size=13, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=13,
        title="line: mean of the seeds; band: their range",
        title_fontsize=12,
    )
    return figure


def _spread_the_top(axes: Axes, best: float, lowest: float) -> None:
    """By the square root of the distance from the best: good cells differ little, bad ones much."""
    axes.set_yscale(
        "function",
        functions=(
            lambda a: -np.sqrt(np.clip(best - np.asarray(a), 0, None)),
            lambda d: best - np.square(d),
        ),
    )
    axes.set_ylim(min(lowest, best - _TICKS[1]), best)
    axes.set_yticks([best - gap for gap in _TICKS if best - gap >= min(lowest, best - _TICKS[1])])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.1f"))
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_method(
    axes: Axes, number: int, method: str, accuracies: Sequence[Sequence[float]]
) -> None:
    length = max(map(len, accuracies))
    columns = list(zip(*([*a, *[a[-1]] * (length - len(a))] for a in accuracies), strict=True))
    epochs = range(1, length + 1)
    colour = COLOURS[number % len(COLOURS)]
    style = STYLES[number // len(COLOURS) % len(STYLES)]
    means = [fmean(column) for column in columns]
    axes.plot(epochs, means, color=colour, linestyle=style, linewidth=2.2, label=printable(method))
    lowest, highest = ([pick(column) for column in columns] for pick in (min, max))
    axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.12, linewidth=0)
