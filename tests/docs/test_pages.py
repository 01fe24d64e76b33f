"""Links resolve, files that are named exist, tables are whole, and nothing public is left out."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import PAGES, ROOT, anchors, links, name_of, spans, table_rows

from sdedge.cli.main import app
from sdedge.run import RunDir

sys.path.insert(0, str(ROOT / "tools"))
from docs_tables import filled

_REPOSITORY_PATH = re.compile(r"(?:benchmarks|cli|docs|kernels|sdedge|tests|tools)/[\w./-]*")
# Written by a run, not part of the tree.
_MADE = {"sdedge/targets"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    for span in spans(page):
        if _REPOSITORY_PATH.fullmatch(span) and span not in _MADE:
            assert (ROOT / span).exists() or (page.parent / span).exists(), span


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    before, width = 0, 0
    for number, cells in table_rows(page):
        if number != before + 1:
            width = len(cells)
        assert len(cells) == width, f"line {number}"
        before = number


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=name_of)
def test_tables_of_registries_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"


def test_search_methods_come_from_the_registry() -> None:
    text = (ROOT / "docs" / "search-methods.md").read_text(encoding="utf-8")
    for table in ("strategies", "combinations", "tasks"):
        assert f"<!-- {table} -->" in text


def command_names(command: Any, prefix: str = "") -> list[str]:
    names = []
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            names += command_names(child, f"{prefix}{name} ")
        elif not child.hidden:
            names.append(f"{prefix}{name}")
    return names


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md"])
def test_every_command_is_documented(page: str) -> None:
    documented = spans(ROOT / page)
    for name in command_names(typer.main.get_command(app)):
        assert name in documented or f"sdedge {name}" in documented, name


def test_every_file_of_a_run_is_documented() -> None:
    run = RunDir(Path("run"))
    named = [name for name, value in vars(RunDir).items() if isinstance(value, property)]
    files = {value.name for name in named if isinstance(value := getattr(run, name), Path)}
    assert len(files) > 10
    assert files <= set(spans(ROOT / "docs" / "run-directory.md"))


def test_the_pages_are_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
