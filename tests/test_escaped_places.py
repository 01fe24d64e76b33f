"""A hostile name is text in every file and table that it gets into."""

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from sdedge.analysis.darts_cell import draw_genotype
from sdedge.comparison.drawing import draw_comparison
from sdedge.comparison.summary import Table
from sdedge.deploy.card.results import accuracy_part
from sdedge.deploy.card.snippets import cpp_snippet, python_snippet
from sdedge.deploy.formats.onnx.metadata import Metadata
from sdedge.escape import latex, markdown, printable, string_literal
from sdedge.genotype import load_genotype

EVIL = '"; system("x"); // $\\frac$ \\ \n\x1b[31m | <b> ```猫'


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(
        classes=("cat", EVIL),
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        normalized_in_graph=False,
        resize="",
        genotype={},
        sdedge_version="0",
    )


def test_the_snippets_of_a_card(metadata: Metadata) -> None:
    program = ast.parse(python_snippet(metadata, "model.onnx"))
    values = [node.value for node in ast.walk(program) if isinstance(node, ast.Constant)]
    assert EVIL in values
    lines = cpp_snippet(metadata, "model.onnx").splitlines()
    assert f'  const char* classes[] = {{"cat", {string_literal(EVIL)}}};' in lines


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_title_of_a_drawing(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"cell.{suffix}"
    draw_genotype(load_genotype("DARTS_V1"), file, title=EVIL)
    if suffix == "svg":
        assert printable(EVIL) in texts(file)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_methods_of_a_comparison_s_drawing(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"comparison.{suffix}"
    draw_comparison([EVIL], [], {}, file)
    if suffix == "svg":
        assert printable(EVIL) in texts(file)


def texts(file: Path) -> list[str]:
    return ["".join(element.itertext()) for element in ET.parse(file).iter() if element.text]


def test_the_tables_of_a_comparison() -> None:
    table = Table(("method", "x"), ((EVIL, "1"),))
    assert table.markdown().splitlines()[2] == f"| {markdown(EVIL)} | 1 |"
    assert f"{latex(EVIL)} & 1" in table.latex()


def test_the_classes_in_a_card() -> None:
    counts = [{"name": EVIL, "images": 4, "fp32_correct": 2}]
    text = accuracy_part({"onnx_accuracy": 0.5, "images": 4000, "per_class": counts})
    assert f"| {markdown(EVIL)} | 4 | 50.0% |" in text.splitlines()
