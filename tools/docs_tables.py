"""Writes the tables of docs/ that follow from registries: `make docs`.

A table stands between `<!-- NAME -->` and `<!-- end -->`. A test fails when one is out of date.
"""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from sdedge.comparison.recipes import RECIPES
from sdedge.deploy.targets.target import list_targets, shipped_target
from sdedge.nas.strategies import STRATEGIES, incompatible_with
from sdedge.nas.tasks import TASKS
from sdedge.operations import (
    DARTS,
    DARTS_OPERATIONS,
    NAS_BENCH_201,
    NAS_BENCH_201_OPERATIONS,
    get_operation,
)

DOCS = Path(__file__).parents[1] / "docs"
_TABLE = re.compile(r"<!-- (?P<name>[a-z]+) -->\n.*?<!-- end -->", re.DOTALL)

_TASKS = {
    "semantic": "classify masked images and reconstruct the hidden patches (Semantic-DARTS)",
    "classification": "classify images (DARTS)",
    "masked-classification": "classify masked images",
    "mim": "reconstruct the hidden patches",
    "reconstruction": "reconstruct whole images",
    "rotation": "tell by which right angle an image was turned",
    "colorization": "predict the colours of a grey image",
    "jigsaw": "tell how the tiles of an image were permuted",
}


def strategies() -> str:
    """Every search method with its paper and its settings."""
    rows = []
    for strategy in STRATEGIES.values():
        number = strategy.paper.rpartition("/")[2]
        settings = [f"`{name}` {value}" for name, value in strategy.settings.items()]
        settings += [f"not in `{space}`" for space in strategy.excluded_spaces]
        rows.append(
            (
                f"`{strategy.name}`",
                strategy.summary,
                f"[{number}]({strategy.paper})",
                ", ".join(settings),
            )
        )
    return _table(("`--strategy`", "what it changes", "paper", "settings"), rows)


def combinations() -> str:
    """Which methods do not combine."""
    rows = [
        (f"`{strategy.name}`", ", ".join(f"`{name}`" for name in refused))
        for strategy in STRATEGIES.values()
        if (refused := incompatible_with(strategy))
    ]
    return _table(("strategy", "does not combine with"), rows)


def tasks() -> str:
    """What the supernet may be asked to do."""
    rows = []
    for name in TASKS:
        kind = name.removeprefix("joint-")
        jointly = ", jointly with classification" if kind != name else ""
        rows.append((f"`{name}`", _TASKS[kind] + jointly))
    return _table(("`--task`", "what the supernet is asked to do"), rows)


def targets() -> str:
    """The devices that ship."""
    shipped = [found for target in list_targets() if (found := shipped_target(target.name))]
    rows = [
        (
            f"`{target.name}`",
            target.title,
            target.runtime,
            ", ".join(target.precisions),
            _size(target.ram_bytes),
            "" if target.flash_bytes is None else _size(target.flash_bytes),
        )
        for target in shipped
    ]
    return _table(("`--target`", "device", "runtime", "precision", "RAM", "flash"), rows)


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count / 1024:g} KiB"


def recipes() -> str:
    """The tables of the paper that compare repeats."""
    return _table(
        ("`--recipe`", "what it repeats"),
        [(f"`{recipe.name}`", recipe.summary) for recipe in RECIPES.values()],
    )


def operations() -> str:
    """What an edge may hold, in either space."""
    rows = [
        (f"`{space}`", f"`{operation.name}`", f"`{operation.short}`", operation.group or "no edge")
        for space, names in (
            (DARTS, DARTS_OPERATIONS),
            (NAS_BENCH_201, NAS_BENCH_201_OPERATIONS),
        )
        for operation in (get_operation(name, space) for name in names)
    ]
    return _table(("`--space`", "operation", "in text", "kind"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


_TABLES: dict[str, Callable[[], str]] = {
    "strategies": strategies,
    "combinations": combinations,
    "tasks": tasks,
    "targets": targets,
    "recipes": recipes,
    "operations": operations,
}


def filled(text: str) -> str:
    """A document with its tables as they are today."""

    def write(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- {name} -->\n\n{_TABLES[name]()}\n<!-- end -->"

    return _TABLE.sub(write, text)


def main() -> None:
    """Rewrite what is out of date, and name it."""
    for file in sorted(DOCS.glob("*.md")):
        text = file.read_text(encoding="utf-8")
        if (now := filled(text)) != text:
            file.write_text(now, encoding="utf-8")
            print(f"wrote {file.relative_to(DOCS.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
