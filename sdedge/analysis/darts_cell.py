"""A genotype as a drawing: its normal and reduction cell, for a README or a paper.

Each inner node owns a horizontal lane: its two operations, one above the other, then the node,
then its line to the output. An arrow bends only in the gap behind its source's column and then
follows the row of its own label, so it cannot run through another node or label, whatever the
genotype. What is left to choose is the order of the lanes: the one with the fewest crossings.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, permutations, product
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdedge.analysis.figure import (
    END_WIDTH,
    HEADER,
    INK,
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
from sdedge.genotype import Edge, Genotype
from sdedge.operations import get_operation

# All lengths are points.
WIDTH, BETWEEN = 1200, 48
LANE, ROW = 84, 34  # from node to node, and between the two operations of one
LEAD, TAIL = 8, 24  # the straight parts of an arrow, before and behind its label
FIRST_GAP, GAP, LAST_GAP = 88, 52, 40
COLUMN = LEAD + LABEL_WIDTH + TAIL + NODE_WIDTH
OUTPUT = -1  # the line to the output, among the edges that leave a node
MAX_ORDERED_NODES = 5  # 3840 layouts; larger cells keep the genotype's own order


@dataclass(frozen=True)
class _Layout:
    """Where a cell's parts stand: columns count from the inputs (0), heights are in points."""

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]
    columns: tuple[int, ...]  # of each state: the two inputs, then the inner nodes
    heights: tuple[float, ...]  # of each state's centre
    rows: tuple[float, ...]  # of each edge's label

    @property
    def depth(self) -> int:
        """Number of columns of inner nodes."""
        return max(self.columns)

    @property
    def height(self) -> float:
        """The height of the lanes, or of the two inputs where there is one lane alone."""
        return LANE * max(2, len(self.edges) // 2)

    @property
    def width(self) -> float:
        """The least width that the cell needs."""
        gaps = FIRST_GAP + (self.depth - 1) * GAP + LAST_GAP
        return 2 * END_WIDTH + self.depth * COLUMN + gaps

    def cost(self) -> tuple[int, float]:
        """Number of crossings, counted gap by gap, then how far the arrows climb."""
        lines = [(self.columns[n], self.depth + 1, *[self.heights[n]] * 2) for n in self.concat]
        for edge, ((_, source), row) in enumerate(zip(self.edges, self.rows, strict=True)):
            target = 2 + edge // 2
            lines.append((self.columns[source], self.columns[target], self.heights[source], row))
        crossings = 0
        for gap in range(self.depth):
            passing = [
                (height if first == gap else row, row)
                for first, last, height, row in lines
                if first <= gap < last
            ]
            crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(passing, 2))
        return crossings, sum(abs(row - height) for _, _, height, row in lines)


def draw_genotype(genotype: Genotype, path: Path, *, title: str | None = None) -> None:
    """Draw both cells of `genotype` to `path`; writes and raises as `save_figure` does."""
    save_figure(lambda: genotype_figure(genotype, title=title), path)


def genotype_figure(genotype: Genotype, *, title: str | None = None) -> Figure:
    """Both cells of `genotype` as a figure: side by side where they fit, else stacked."""
    cells = {
        "normal": ("Normal cell", _arrange(genotype.normal, genotype.normal_concat)),
        "reduce": ("Reduction cell", _arrange(genotype.reduce, genotype.reduce_concat)),
    }
    layouts = [layout for _, layout in cells.values()]
    page = max(WIDTH, 2 * MARGIN + max(layout.width for layout in layouts))
    spare = page - 2 * MARGIN - BETWEEN - sum(layout.width for layout in layouts)
    side_by_side = spare >= 0
    top = MARGIN + (HEADER if title else 0)
    heights = [HEADER + layout.height for layout in layouts]
    body = max(heights) if side_by_side else sum(heights) + MARGIN
    total = top + body + LEGEND + MARGIN

    figure = new_page(page, total, title)
    x, y = float(MARGIN), float(top)
    for (name, (heading, layout)), height in zip(cells.items(), heights, strict=True):
        width = layout.width + spare / 2 if side_by_side else page - 2 * MARGIN
        place = (x / page, 1 - (y + height) / total, width / page, height / total)
        axes = figure.add_axes(place, gid=name, xlim=(0, width), ylim=(layout.height, -HEADER))
        axes.set_axis_off()
        axes.text(0, 4 - HEADER, heading, size=15, weight="bold", color=INK, va="top")
        _draw_cell(axes, layout, width)
        x, y = (x + width + BETWEEN, y) if side_by_side else (x, y + height + MARGIN)
    groups = {get_operation(name).group for name, _ in genotype.normal + genotype.reduce}
    draw_legend(figure, groups)
    return figure


def _arrange(edges: tuple[Edge, ...], concat: tuple[int, ...]) -> _Layout:
    """The layout of least cost over every order of the lanes and of the two labels in each."""
    nodes = len(edges) // 2
    orders: Iterable[tuple[int, ...]] = [tuple(range(nodes))]
    flips: Iterable[tuple[int, ...]] = [(1,) * nodes]
    if nodes <= MAX_ORDERED_NODES:
        orders, flips = permutations(range(nodes)), product((1, -1), repeat=nodes)
    layouts = (_layout(edges, concat, order, flip) for order, flip in product(orders, flips))
    return min(layouts, key=_Layout.cost)


def _layout(
    edges: tuple[Edge, ...], concat: tuple[int, ...], order: tuple[int, ...], flip: tuple[int, ...]
) -> _Layout:
    """Inner node n gets lane order[n], from the top; flip[n] is -1 to put its second edge above."""
    columns = [0, 0]
    for (_, left), (_, right) in zip(edges[::2], edges[1::2], strict=True):
        columns.append(1 + max(columns[left], columns[right]))
    middle = LANE * max(2, len(order)) / 2
    inner = [middle + LANE * (lane - (len(order) - 1) / 2) for lane in order]
    rows = [
        y + side * ROW / 2 for y, sign in zip(inner, flip, strict=True) for side in (-sign, sign)
    ]
    heights = (middle / 2, middle * 3 / 2, *inner)
    return _Layout(edges, concat, tuple(columns), heights, tuple(rows))


def _draw_cell(axes: Axes, layout: _Layout, width: float) -> None:
    stretch = (width - layout.width) / layout.depth
    sides = [(0.0, float(END_WIDTH))]  # left and right of the boxes in each column
    for gap in (FIRST_GAP, *[GAP] * (layout.depth - 1)):
        right = sides[-1][1] + gap + stretch + COLUMN
        sides.append((right - NODE_WIDTH, right))
    output = width - END_WIDTH

    for node in layout.concat:
        y = layout.heights[node]
        draw_arrow(axes, curve([(sides[layout.columns[node]][1], y), (output, y)], "L"), LINE)
    ports = _ports(layout)
    for edge, ((name, source), row) in enumerate(zip(layout.edges, layout.rows, strict=True)):
        operation = get_operation(name)
        color = group_color(operation.group)
        start = (sides[layout.columns[source]][1], ports[edge])
        bent = (sides[layout.columns[source] + 1][1] - COLUMN, row)
        end = sides[layout.columns[2 + edge // 2]][0]
        path = curve([start, *bend(start, bent), (end, row)], "CL")
        draw_arrow(axes, path, color)
        left, right = end - TAIL - LABEL_WIDTH, end - TAIL
        draw_box(axes, left, right, row, LABEL_HEIGHT, operation.label, color)

    for state, (column, y) in enumerate(zip(layout.columns, layout.heights, strict=True)):
        label = f"$c_{{k-{2 - state}}}$" if state < 2 else str(state - 2)
        draw_box(axes, *sides[column], y, NODE_HEIGHT, label)
    ends = [layout.heights[node] for node in layout.concat]
    top, bottom = min(ends), max(ends)
    draw_box(axes, output, width, (top + bottom) / 2, bottom - top + NODE_HEIGHT, "$c_k$")


def _ports(layout: _Layout) -> dict[int, float]:
    """The height at which each edge leaves its source: fanned out, so that none hides another."""
    ports: dict[int, float] = {}
    for state, height in enumerate(layout.heights):
        leaving = [(height, OUTPUT)] if state in layout.concat else []
        leaving += [
            (layout.rows[n], n) for n, (_, source) in enumerate(layout.edges) if source == state
        ]
        ranks = {edge: rank for rank, (_, edge) in enumerate(sorted(leaving))}
        middle = ranks.get(OUTPUT, (len(ranks) - 1) / 2)
        furthest = max(middle, len(ranks) - 1 - middle, 1)
        step = min(PORT, (NODE_HEIGHT / 2 - 6) / furthest)
        ports |= {edge: height + step * (rank - middle) for edge, rank in ranks.items()}
    return ports
