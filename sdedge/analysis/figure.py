"""What all drawings share: colours, arrows, boxes, a page with its title, and whole files."""

import warnings
from collections.abc import Callable, Collection, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator

from sdedge.errors import ConfigError
from sdedge.escape import printable
from sdedge.files import write_atomic
from sdedge.operations import Group

SUFFIXES = (".svg", ".png")
GROUPS: dict[Group, str] = {
    "separable convolution": "#2563eb",
    "dilated convolution": "#d9480f",
    "convolution": "#7c3aed",
    "pooling": "#0b8457",
    "skip connection": "#64748b",
}
INK, LINE, PAPER, EMPTY = "#111827", "#aeb4bf", "#f3f4f6", "white"

# All lengths are points, and a PNG has two pixels a point.
MARGIN, HEADER, LEGEND = 24, 34, 40
LABEL_WIDTH, LABEL_HEIGHT = 70, 24
NODE_WIDTH, END_WIDTH, NODE_HEIGHT = 34, 46, 56
PORT = 9  # between two arrows that leave a node

Point = tuple[float, float]


def save_figure(make: Callable[[], Figure], path: Path) -> None:
    """Write the figure that `make` gives to `path`, as SVG or PNG by its suffix.

    The file is written whole or not at all, and the same figure gives the same bytes, whatever
    matplotlib's settings. Raises ConfigError for another suffix, RunError when the file cannot be
    written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"cannot draw {path}: its name must end in {' or '.join(SUFFIXES)}")
    buffer = BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {}
    with (
        style.context("default"),
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "sdedge", "text.parse_math": False}),
        warnings.catch_warnings(),
    ):
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        make().savefig(buffer, format=suffix[1:], dpi=144, metadata=metadata)
    write_atomic(path, buffer.getvalue())


def new_page(width: float, height: float, title: str | None) -> Figure:
    """An empty figure of that size in points, its title at the top left."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="white")
    if title:
        title = printable(title)
        text = figure.text(MARGIN / width, 1 - MARGIN / height, title, weight="bold", color=INK)
        text.set(size=min(18, width * 4 / 3 / len(title)), va="top", parse_math=False)
    return figure


def draw_arrow(axes: Axes, path: Curve, color: str, *, dashed: bool = False) -> None:
    """An arrow along `path`, or a dashed line; a white rim sets it off from what it crosses."""
    head = "-" if dashed else "-|>,head_length=7,head_width=3.5"
    width = 1.3 if color == LINE else 1.9
    for look, shade, thickness in (("-", "white", 5), (head, color, width)):
        arrow = FancyArrowPatch(path=path, arrowstyle=look, color=shade, linewidth=thickness)
        arrow.set(mutation_scale=1, capstyle="butt", clip_on=False)
        arrow.set_linestyle("dashed" if dashed and shade == color else "solid")
        axes.add_patch(arrow)


def bend(start: Point, end: Point) -> list[Point]:
    """The three points that follow `start` on a curve which leaves it and ends level."""
    middle = (start[0] + end[0]) / 2
    return [(middle, start[1]), (middle, end[1]), end]


def curve(points: Sequence[Point], codes: str) -> Curve:
    """A path from the first point on: for each letter a line (L, one point) or a curve (C, 3)."""
    pieces = {"L": [Curve.LINETO], "C": [Curve.CURVE4] * 3}
    return Curve(points, [Curve.MOVETO, *(code for letter in codes for code in pieces[letter])])


def draw_box(
    axes: Axes,
    left: float,
    right: float,
    y: float,  # of its centre
    height: float,
    label: str,
    fill: str = PAPER,
) -> None:
    """A box with a label in it: of a node (PAPER), of no operation (EMPTY), or of an operation."""
    edge, ink = (LINE, INK) if fill in (PAPER, EMPTY) else (fill, "white")
    box = FancyBboxPatch((left, y - height / 2), right - left, height, zorder=3, clip_on=False)
    box.set(boxstyle="round,pad=0,rounding_size=8", facecolor=fill, edgecolor=edge)
    axes.add_patch(box)
    size = 15 if fill == PAPER else 13
    text = axes.text((left + right) / 2, y, label, size=size, color=ink, zorder=4)
    text.set(ha="center", va="center_baseline", parse_math=True)  # labels are sdedge's own


def dress_epochs(axes: Axes) -> None:
    """Axes of something over epochs, which are counted in whole numbers."""
    axes.set_xlabel("epoch", size=13, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    axes.tick_params(labelsize=12, color=LINE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)


def group_color(group: Group | None) -> str:
    """The colour of a group of operations, or of a line where nothing flows."""
    return LINE if group is None else GROUPS[group]


def draw_legend(figure: Figure, used: Collection[Group | None]) -> None:
    """The colours of the groups that are used, in one row at the foot of the page."""
    handles = [Patch(color=color, label=group) for group, color in GROUPS.items() if group in used]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=13,
        labelcolor=INK,
        handlelength=1.1,  # this and what follows in units of the font size
        handleheight=1.1,
        borderpad=0,
        borderaxespad=MARGIN / 13,
    )
