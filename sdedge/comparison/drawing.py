"""A comparison of search methods as a drawing: a dot a seed, a bar at the mean of each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sdedge.analysis.figure import INK, LINE, save_figure
from sdedge.analysis.standings import BEST, FOUND
from sdedge.comparison.summary import ACCURACIES, SUPERNET, Column, Row
from sdedge.escape import printable

WIDTH, LANE, FRAME = 1200 / 72, 34 / 72, 130 / 72  # inches


def draw_comparison(
    methods: Sequence[str], rows: Sequence[Row], best: Mapping[str, float], path: Path
) -> None:
    """Draw the accuracies that the trials of `methods` reached to `path`, a panel for each kind.

    `best` has the highest accuracy there is, per cent, by the title of its column. Without any
    other accuracy it is that of the supernets. Writes and raises as `save_figure`.
    """
    save_figure(lambda: comparison_figure(methods, rows, best), path)


def comparison_figure(
    methods: Sequence[str], rows: Sequence[Row], best: Mapping[str, float]
) -> Figure:
    """The panels as a figure, side by side; a lane a method, from the top."""
    columns = [c for c in ACCURACIES if any(c.read(row) is not None for row in rows)] or [SUPERNET]
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    size = (WIDTH, FRAME + LANE * len(methods))
    figure = Figure(figsize=size, dpi=72, facecolor="white", layout=layout)
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for column, axes in zip(columns, panels, strict=True):
        axes.set_title(column.title, size=15, weight="bold", color=INK, loc="left")
        _draw_panel(axes, column, methods, rows)
        if column.title in best:
            axes.axvline(best[column.title], color=BEST, linestyle="dashed", linewidth=1.5)
            axes.set_xlabel(f"best {best[column.title]:.2f}", size=13, color=BEST, loc="right")
    figure.supxlabel("a dot a seed, a bar at their mean", size=12, color=INK)
    panels[0].set_yticks(range(len(methods)), [printable(method) for method in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    return figure


def _draw_panel(axes: Axes, column: Column, methods: Sequence[str], rows: Sequence[Row]) -> None:
    for lane, method in enumerate(methods):
        values = [
            value
            for row in rows
            if row["method"] == method and (value := column.read(row)) is not None
        ]
        axes.axhline(lane, color=LINE, linewidth=0.6, zorder=1)
        axes.plot(values, [lane] * len(values), "o", color=FOUND, alpha=0.6, markersize=8, zorder=2)
        if values:
            mean = fmean(values)
            axes.plot([mean, mean], [lane - 0.3, lane + 0.3], color=INK, linewidth=2.5, zorder=3)
    axes.tick_params(labelsize=12, color=LINE, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
