"""Drawings of cells: what is on them, that nothing overlaps, and that files are whole."""

import errno
import random
import struct
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from matplotlib.transforms import Bbox

from sdedge.analysis.darts_cell import draw_genotype, genotype_figure
from sdedge.analysis.figure import GROUPS, LINE
from sdedge.errors import ConfigError, RunError
from sdedge.genotype import Edge, Genotype, published
from sdedge.operations import operations_of

SVG = "{http://www.w3.org/2000/svg}"
CELL_OPERATIONS = [name for name, op in operations_of().items() if op.derivable]
COLORS = {matplotlib.colors.to_rgba(color) for color in GROUPS.values()}


def _random_cell(generator: random.Random, nodes: int) -> tuple[Edge, ...]:
    return tuple(
        (generator.choice(CELL_OPERATIONS), generator.randrange(2 + position // 2))
        for position in range(2 * nodes)
    )


def _random_genotype(seed: int, nodes: int) -> Genotype:
    generator = random.Random(seed)
    return Genotype(
        normal=_random_cell(generator, nodes),
        reduce=_random_cell(generator, nodes),
        normal_concat=tuple(range(2, 2 + nodes)),
        reduce_concat=(1 + nodes,),
    )


def _chain(nodes: int) -> Genotype:
    """Each node reads the one before it and the first input: as deep as a cell can be."""
    cell = tuple(
        edge for node in range(nodes) for edge in (("sep_conv_3x3", node + 1), ("skip_connect", 0))
    )
    concat = tuple(range(2, 2 + nodes))
    return Genotype(normal=cell, reduce=cell, normal_concat=concat, reduce_concat=concat)


NAMES = (
    "DARTS_V2",  # shallow: side by side
    "PDARTS",  # deep: stacked
    "NASNet_A",  # five nodes, 7x7, a subset concatenated, one source twice
    "SemanticDARTS_C10_p8r0.6_seed9999",
    "SemanticDARTS_authors_recCleanOnly_allseeds",  # skips alone
)
GENOTYPES = {
    **{name: published()[name].genotype for name in NAMES},
    **{f"random{seed}": _random_genotype(seed, nodes=4) for seed in range(4)},
    "one node": _random_genotype(0, nodes=1),
    "seven nodes": _random_genotype(0, nodes=7),
    "deeper than a page is wide": _chain(8),
}


@pytest.fixture(params=GENOTYPES)
def genotype(request: pytest.FixtureRequest) -> Genotype:
    return GENOTYPES[request.param]


def _cells(genotype: Genotype) -> dict[str, tuple[Edge, ...]]:
    return {"normal": genotype.normal, "reduce": genotype.reduce}


def _boxes(axes: Axes) -> list[Bbox]:
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [
        Bbox.from_bounds(box.get_x(), box.get_y(), box.get_width(), box.get_height())
        for box in boxes
    ]


def _arrows(axes: Axes) -> list[FancyArrowPatch]:
    """The coloured arrows, one an operation."""
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    return [arrow for arrow in arrows if arrow.get_edgecolor() in COLORS]


def _line(arrow: FancyArrowPatch) -> np.ndarray:
    """The arrow's line without its head, as points (N, 2)."""
    return arrow.get_path().to_polygons(closed_only=False)[0]


def _inside(arrow: FancyArrowPatch, box: Bbox) -> bool:
    """Whether the arrow comes more than half a point inside the box."""
    steps = np.linspace(0, 1, 200)[:, None]
    points = np.concatenate([a + steps * (b - a) for a, b in pairwise(_line(arrow))])
    within = (points > box.min + 0.5) & (points < box.max - 0.5)
    return bool(within.all(axis=1).any())


def test_every_operation_has_a_label_and_a_colour() -> None:
    derivable = [operation for operation in operations_of().values() if operation.derivable]
    assert {operation.group for operation in derivable} == set(GROUPS)
    assert len({operation.label for operation in derivable}) == len(derivable)


@pytest.mark.parametrize("name", NAMES)
def test_svg_labels_each_operation_of_each_cell(name: str, tmp_path: Path) -> None:
    genotype = published()[name].genotype
    draw_genotype(genotype, tmp_path / "cell.svg", title="A <b> & $c$")
    root = ElementTree.parse(tmp_path / "cell.svg").getroot()
    assert "A <b> & $c$" in [text.text for text in root.iter(f"{SVG}text")]
    labels = {operation.label for operation in operations_of().values()}
    for cell, edges in _cells(genotype).items():
        (group,) = (group for group in root.iter(f"{SVG}g") if group.get("id") == cell)
        drawn = [text.text for text in group.iter(f"{SVG}text")]
        assert Counter(text for text in drawn if text in labels) == Counter(
            operations_of()[operation].label for operation, _ in edges
        )
        assert [text for text in drawn if text and text.isdigit()] == [
            str(node) for node in range(len(edges) // 2)
        ]


def test_nothing_overlaps(genotype: Genotype) -> None:
    figure = genotype_figure(genotype)
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox
    for axes in figure.axes:
        boxes = _boxes(axes)
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        for text in axes.texts:
            extent = text.get_window_extent(renderer)
            assert page.x0 <= extent.x0 < extent.x1 <= page.x1
            around = [box.transformed(axes.transData) for box in boxes]
            touched = [box for box in around if box.overlaps(extent)]
            assert len(touched) == ("cell" not in text.get_text())
            assert all(box.containsx(x) for box in touched for x in extent.intervalx)
    (legend,) = figure.legends
    cells = Bbox.union([axes.get_window_extent(renderer) for axes in figure.axes])
    assert legend.get_window_extent(renderer).y1 < cells.y0


def test_arrows_run_through_their_own_label_and_nothing_else(genotype: Genotype) -> None:
    for axes, edges in zip(genotype_figure(genotype).axes, _cells(genotype).values(), strict=True):
        boxes = _boxes(axes)
        hits = [
            [index for index, box in enumerate(boxes) if _inside(arrow, box)]
            for arrow in _arrows(axes)
        ]
        assert sorted(hits) == [[label] for label in range(len(edges))]


def test_arrows_leave_their_source_apart() -> None:
    normal, _ = genotype_figure(published()["NASNet_A"].genotype).axes
    starts = [tuple(arrow.get_path().vertices[0]) for arrow in _arrows(normal)]
    assert len(set(starts)) == len(starts) == 10


def test_each_concatenated_node_is_joined_to_the_output() -> None:
    genotype = published()["NASNet_A"].genotype
    line = matplotlib.colors.to_rgba(LINE)
    joined = [
        sum(
            isinstance(patch, FancyArrowPatch) and patch.get_edgecolor() == line
            for patch in axes.patches
        )
        for axes in genotype_figure(genotype).axes
    ]
    assert joined == [len(genotype.normal_concat), len(genotype.reduce_concat)] == [5, 3]


def test_lanes_are_ordered_so_that_arrows_do_not_cross() -> None:
    normal, _ = genotype_figure(_chain(4)).axes
    paths = [Curve(_line(arrow)) for arrow in _arrows(normal)]
    assert not any(a.intersects_path(b, filled=False) for a, b in combinations(paths, 2))


@pytest.mark.parametrize("name", ["cell.svg", "cell.png"])
def test_the_same_genotype_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    genotype = published()["PDARTS"].genotype
    draw_genotype(genotype, tmp_path / "one" / name, title="PDARTS")
    settings = {"svg.fonttype": "path", "font.family": ["monospace"], "mathtext.fontset": "cm"}
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        draw_genotype(genotype, tmp_path / "two" / name, title="PDARTS")
        assert dict(matplotlib.rcParams) == before
    data = (tmp_path / "one" / name).read_bytes()
    assert data == (tmp_path / "two" / name).read_bytes()
    assert b"dc:date" not in data


def test_png_is_a_png_with_two_pixels_a_point(tmp_path: Path) -> None:
    path = tmp_path / "cell.PNG"
    draw_genotype(published()["DARTS_V2"].genotype, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">I", data[16:20]) == (2400,)


@pytest.mark.parametrize("name", ["cell.pdf", "cell"])
def test_another_suffix_names_the_choices(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*\.svg or \.png"):
        draw_genotype(_chain(1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "cell.svg"
    path.write_text("old")
    monkeypatch.setattr("sdedge.run.os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        draw_genotype(_chain(1), path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_drawing_needs_neither_pyplot_nor_torch() -> None:
    code = (
        "import sys, sdedge.analysis.drawing, sdedge.analysis.standings; "
        "sys.exit(bool({'matplotlib.pyplot', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
