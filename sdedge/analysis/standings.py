"""What the cell of each epoch of a search reaches when it is trained in full, as a drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sdedge.analysis.figure import INK, dress_epochs, save_figure

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet-16-120"}
FOUND, BEST = "#2563eb", "#0b8457"
SIZE = (1200 / 72, 340 / 72)  # inches


def draw_standings(
    epochs: Sequence[Mapping[str, Any]],
    best: Mapping[str, float],
    path: Path,
    *,
    found: int | None = None,
) -> None:
    """Draw the accuracy of each epoch's cell to `path`, a panel for each data set.

    The value of epoch `found`, else of the last, is labelled: the search ended with it.

    `epochs` is what `sdedge.nas.lookup.look_up_epochs` gives, one epoch at least; `best` has
    the highest accuracy in the space by data set, per cent. Writes and raises as `save_figure`.
    """
    save_figure(lambda: standings_figure(epochs, best, found=found), path)


def standings_figure(
    epochs: Sequence[Mapping[str, Any]], best: Mapping[str, float], *, found: int | None = None
) -> Figure:
    """The panels as a figure, side by side."""
    layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.15)  # inches
    figure = Figure(figsize=SIZE, dpi=72, facecolor="white", layout=layout)
    numbers = [epoch["epoch"] for epoch in epochs]
    panels = figure.subplots(1, len(TITLES))
    for (dataset, title), axes in zip(TITLES.items(), panels, strict=True):
        accuracies = [epoch["standings"][dataset]["accuracy"] for epoch in epochs]
        axes.set_title(title, size=15, weight="bold", color=INK, loc="left")
        labelled = numbers.index(found) if found in numbers else len(numbers) - 1
        _draw_panel(axes, numbers, accuracies, best[dataset], labelled)
    panels[0].set_ylabel("test accuracy, %", size=13, color=INK)
    return figure


def _draw_panel(
    axes: Axes, epochs: Sequence[int], accuracies: Sequence[float], best: float, labelled: int
) -> None:
    room = max(best - min(accuracies), 2)  # points; two where every cell is as good as the best
    axes.set(xlim=(epochs[0] - 0.5, epochs[-1] + 0.5), ylim=(best - room * 1.07, best + room / 7))
    axes.axhline(best, color=BEST, linestyle="dashed", linewidth=1.5)
    # Nothing else stands above the best, and to the right of the last epoch only its dashes.
    axes.annotate(
        f"best {best:.2f}",
        (0, best),
        (4, 6),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        size=13,
        color=BEST,
    )
    size = 6 if len(epochs) <= 50 else 3.5
    axes.plot(epochs, accuracies, "o-", color=FOUND, markersize=size, clip_on=False, zorder=3)
    axes.annotate(
        f"{accuracies[labelled]:.2f}",
        (epochs[labelled], accuracies[labelled]),
        (9, 0),
        textcoords="offset points",
        size=13,
        weight="bold",
        color=FOUND,
        va="center_baseline",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )
    dress_epochs(axes)
