"""Drawings of NAS-Bench-201 cells: a label on every edge, and nothing on top of another."""

from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from matplotlib.transforms import Bbox

from sdedge.analysis.drawing import draw_architecture
from sdedge.analysis.figure import GROUPS, LINE
from sdedge.analysis.nasbench201_cell import NODES, nb201_figure
from sdedge.errors import ConfigError
from sdedge.genotype import published
from sdedge.operations import NAS_BENCH_201, NAS_BENCH_201_OPERATIONS, get_operation
from sdedge.space.nasbench201.cell import EDGES, Nb201Cell

SVG = "{http://www.w3.org/2000/svg}"
MIXED = Nb201Cell(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"))
CELLS = {operation: Nb201Cell((operation,) * len(EDGES)) for operation in NAS_BENCH_201_OPERATIONS}
WHITE = to_rgba("white")


def _boxes(axes: Axes) -> list[Bbox]:
    """Of the six labels in the order of EDGES, then of the four nodes."""
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [
        Bbox.from_bounds(box.get_x(), box.get_y(), box.get_width(), box.get_height())
        for box in boxes
    ]


def _arrows(axes: Axes) -> list[FancyArrowPatch]:
    """In the order of EDGES, their white rims left out."""
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    return [arrow for arrow in arrows if arrow.get_edgecolor() != WHITE]


def _lines(axes: Axes) -> list[np.ndarray]:
    """The arrows as points (N, 2), their heads left out."""
    return [arrow.get_path().to_polygons(closed_only=False)[0] for arrow in _arrows(axes)]


def _svg_texts(path: Path) -> list[str | None]:
    return [text.text for text in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


def test_svg_names_the_operations_the_nodes_and_the_kinds(tmp_path: Path) -> None:
    draw_architecture(MIXED, tmp_path / "cell.svg", title="A <b> & $c$")
    labels = ["conv 3x3", "none", "conv 1x1", "skip", "none", "avg 3x3"]
    kinds = ["convolution", "pooling", "skip connection"]
    expected = Counter(["A <b> & $c$", *NODES, *labels, *kinds])
    assert Counter(_svg_texts(tmp_path / "cell.svg")) == expected


def test_each_label_is_on_its_own_edge() -> None:
    (axes,) = nb201_figure(MIXED).axes
    texts = [text.get_text() for text in axes.texts[: len(EDGES)]]
    assert texts == [get_operation(name, NAS_BENCH_201).label for name in MIXED.operations]
    boxes = _boxes(axes)
    nodes = boxes[len(EDGES) :]
    for line, (target, source), own in zip(_lines(axes), EDGES, boxes, strict=False):
        assert line[0][0] == pytest.approx(nodes[source].x1)
        assert line[-1][0] == pytest.approx(nodes[target].x0, abs=3)  # its head left out
        points = Curve(line).interpolated(100).vertices
        inner = [box.padded(-0.5) for box in boxes]
        hits = [((points > box.min) & (points < box.max)).all(axis=1).any() for box in inner]
        assert [box for box, hit in zip(boxes, hits, strict=True) if hit] == [own]


@pytest.mark.parametrize("cell", [*CELLS.values(), MIXED], ids=[*CELLS, "mixed"])
def test_nothing_overlaps(cell: Nb201Cell) -> None:
    figure = nb201_figure(cell, title="title")
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [box.transformed(axes.transData) for box in _boxes(axes)]
    assert len(boxes) == len(EDGES) + len(NODES)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for text, box in zip(axes.texts, boxes, strict=True):
        extent = text.get_window_extent(renderer)
        assert (extent.min > box.min).all()
        assert (extent.max < box.max).all()
    page, drawn = figure.bbox, Bbox.union(boxes)
    assert page.x0 < drawn.x0 < drawn.x1 < page.x1
    assert figure.legends[0].get_window_extent(renderer).y1 < drawn.y0
    assert drawn.y1 < figure.texts[0].get_window_extent(renderer).y0


def test_arrows_keep_apart() -> None:
    (axes,) = nb201_figure(MIXED).axes
    lines = [Curve(line).interpolated(20).vertices for line in _lines(axes)]
    for one, other in combinations(lines, 2):
        distances = np.linalg.norm(one[:, None] - other, axis=2)
        assert distances.min() > 5  # points, the width of an arrow's white rim


def test_none_is_a_faint_dashed_line_and_other_operations_have_their_groups_colour() -> None:
    (axes,) = nb201_figure(MIXED).axes
    for arrow, operation in zip(_arrows(axes), MIXED.operations, strict=True):
        group = get_operation(operation, NAS_BENCH_201).group
        assert arrow.get_edgecolor() == to_rgba(GROUPS[group] if group else LINE)
        assert arrow.get_linestyle() == ("solid" if group else "dashed")


@pytest.mark.parametrize("name", ["cell.svg", "cell.png"])
def test_the_same_cell_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        draw_architecture(MIXED, tmp_path / folder / name, title="cell")
    one = (tmp_path / "one" / name).read_bytes()
    assert one == (tmp_path / "two" / name).read_bytes()
    draw_architecture(CELLS["none"], tmp_path / "two" / name, title="cell")
    assert one != (tmp_path / "two" / name).read_bytes()


def test_another_suffix_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cell\.pdf.*\.svg or \.png"):
        draw_architecture(MIXED, tmp_path / "cell.pdf")
    assert not list(tmp_path.iterdir())


def test_a_genotype_is_drawn_as_its_two_cells(tmp_path: Path) -> None:
    draw_architecture(published()["DARTS_V2"].genotype, tmp_path / "cell.svg")
    assert {"Normal cell", "Reduction cell"} <= set(_svg_texts(tmp_path / "cell.svg"))
