"""A cell of NAS-Bench-201 as a drawing.

The four nodes stand on one line. Each edge has a row of its own between its two nodes: on that
line, above it or below it, so that no two arrows cross and each label has its place.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdedge.analysis.figure import (
    EMPTY,
    END_WIDTH,
    HEADER,
    LABEL_HEIGHT,
    LABEL_WIDTH,
    LEGEND,
    LINE,
    MARGIN,
    NODE_HEIGHT,
    NODE_WIDTH,
    PORT,
    bend,
    curve,
    draw_arrow,
    draw_box,
    draw_legend,
    group_color,
    new_page,
    save_figure,
)
from sdedge.operations import NAS_BENCH_201, get_operation
from sdedge.space.nasbench201.cell import EDGES, Nb201Cell

# All lengths are points; heights grow downwards, from the line of the nodes.
GAP = 196  # between two nodes
NODES = ("in", "1", "2", "out")
WIDTHS = (END_WIDTH, NODE_WIDTH, NODE_WIDTH, END_WIDTH)
LEFTS = tuple(GAP * node + sum(WIDTHS[:node]) for node in range(len(NODES)))
ROW = 56
# By (to, from): an edge's row, the ports where it leaves and arrives, counted from the middle of
# a node, and the width of its bends: the highest is the steepest, to keep clear of the others.
ROUTES = {
    (1, 0): (0, 0, 0, 0),
    (2, 1): (0, 0, 0, 0),
    (3, 2): (0, 0, 0, 0),
    (2, 0): (-1, -1, -1, 80),
    (3, 1): (1, 1, 1, 80),
    (3, 0): (-2, -2, -1, 60),
}
TIP = 14  # the straight part of a bent arrow that holds its head
TOP, BOTTOM = 2 * ROW + LABEL_HEIGHT / 2, ROW + LABEL_HEIGHT / 2
WIDTH, HEIGHT = LEFTS[-1] + WIDTHS[-1], TOP + BOTTOM


def draw_nb201_cell(cell: Nb201Cell, path: Path, *, title: str | None = None) -> None:
    """Draw `cell` to `path`; writes and raises as `save_figure` does."""
    save_figure(lambda: nb201_figure(cell, title=title), path)


def nb201_figure(cell: Nb201Cell, *, title: str | None = None) -> Figure:
    """`cell` as a figure: a label on each of its six edges, faint and dashed where it is none."""
    top = MARGIN + (HEADER if title else 0)
    page, total = WIDTH + 2 * MARGIN, top + HEIGHT + LEGEND + MARGIN
    figure = new_page(page, total, title)
    place = (MARGIN / page, 1 - (top + HEIGHT) / total, WIDTH / page, HEIGHT / total)
    axes = figure.add_axes(place, gid="cell", xlim=(0, WIDTH), ylim=(BOTTOM, -TOP))
    axes.set_axis_off()
    for edge, name in zip(EDGES, cell.operations, strict=True):
        _draw_edge(axes, edge, name)
    for label, left, width in zip(NODES, LEFTS, WIDTHS, strict=True):
        draw_box(axes, left, left + width, 0, NODE_HEIGHT, label)
    draw_legend(figure, {get_operation(name, NAS_BENCH_201).group for name in cell.operations})
    return figure


def _draw_edge(axes: Axes, edge: tuple[int, int], name: str) -> None:
    operation = get_operation(name, NAS_BENCH_201)
    color = group_color(operation.group)
    line, fill = (color, color) if operation.group else (LINE, EMPTY)
    target, source = edge
    row, leaves, arrives, width = ROUTES[edge]
    start = (LEFTS[source] + WIDTHS[source], leaves * PORT)
    end = (LEFTS[target], arrives * PORT)
    path = curve([start, end], "L")
    if row:
        first, last = (start[0] + width, row * ROW), (end[0] - TIP - width, row * ROW)
        points = [start, *bend(start, first), last, *bend(last, (end[0] - TIP, end[1])), end]
        path = curve(points, "CLCL")
    draw_arrow(axes, path, line, dashed=operation.group is None)
    left = (start[0] + end[0] - LABEL_WIDTH) / 2
    draw_box(axes, left, left + LABEL_WIDTH, row * ROW, LABEL_HEIGHT, operation.label, fill)
