"""Each recipe of docs/extending.md names a test that adds a toy through public names alone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPES = dict(section.split("\n", 1) for section in PAGE.split("\n## ")[1:])


def test_each_kind_of_extension_has_a_recipe() -> None:
    kinds = ("An operation", "A strategy", "A task", "A data set", "A target", "A format")
    assert set(RECIPES) == {*kinds, "A kernel"}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_proven_through_public_names(title: str) -> None:
    (name,) = re.findall(r"^Proven by `(tests/[\w/]+\.py)`", RECIPES[title], re.MULTILINE)
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            assert not [each for each in names if re.match("_[a-z]", each)]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            assert not re.match("_[a-z]", node.attr), f"{name}: {node.attr}"
