"""The pages of the documentation, and what stands in them: code, links, headings and tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        (
            *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
            *(ROOT / "docs").glob("*.md"),
            ROOT / "benchmarks" / "README.md",
        )
    )
)

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^\n|\A)(?P<code>(?: {4}.*\n|\n)+)", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `language` is empty where none is named."""

    language: str
    code: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Fenced blocks in the order of the page, then what is indented."""
    text = page.read_text(encoding="utf-8")
    fenced = [Block(match["language"], match["code"]) for match in _FENCE.finditer(text)]
    indented = _INDENTED.finditer(_FENCE.sub("", text))
    return fenced + [
        Block("", re.sub("^ {4}", "", match["code"], flags=re.MULTILINE)) for match in indented
    ]


def prose(page: Path) -> str:
    """The page without its fenced code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Code within sentences and tables."""
    return _SPAN.findall(prose(page))


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page point."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(kept.replace(" ", "-"))
    return found


def table_rows(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of the tables of a page, each with the number of its line."""
    fence = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence ^= line.startswith("```")
        if line.startswith("|") and not fence:
            yield number, [cell.strip() for cell in line.strip().strip("|").split("|")]
