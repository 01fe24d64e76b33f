"""The table of a comparison: what each method reached, over its seeds. No torch."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdedge.comparison.plan import Plan
from sdedge.escape import latex, markdown

# What one trial gave, as its trial.json has it; with a benchmark table also its `standings`.
Row = Mapping[str, Any]
# Method -> column -> what the paper has there.
Published = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Column:
    """A figure of every trial; `read` gives None where a trial has none."""

    title: str
    read: Callable[[Row], float | None]
    digits: int

    def text(self, values: Sequence[float]) -> str:
        """Mean and sample standard deviation."""
        mean = f"{statistics.fmean(values):,.{self.digits}f}"
        if len(values) == 1:
            return mean
        return f"{mean} ± {statistics.stdev(values):,.{self.digits}f}"


class Count(Column):
    """A figure that is 0 or 1."""

    def text(self, values: Sequence[float]) -> str:
        """How many trials have it."""
        return f"{sum(values):.0f} of {len(values)}"


def _standing(dataset: str) -> Callable[[Row], float | None]:
    return lambda row: row["standings"][dataset]["accuracy"] if "standings" in row else None


def _scaled(name: str, scale: float) -> Callable[[Row], float | None]:
    return lambda row: scale * row[name] if name in row else None


# Data set of a benchmark table -> the title of its column.
TITLES = {
    "cifar10": "C10 %",
    "cifar100": "C100 %",
    "imagenet16-120": "IN16 %",
}
ACCURACIES: tuple[Column, ...] = (
    *(Column(title, _standing(dataset), 2) for dataset, title in TITLES.items()),
    Column("test %", _scaled("test_accuracy", 100), 2),
)
RANK = Column(
    "C10 rank", lambda row: row["standings"]["cifar10"]["rank"] if "standings" in row else None, 0
)
# Of the epoch whose supernet had the best validation accuracy.
AT_BEST = Column("C10 % at best valid.", _scaled("cifar10_at_best_epoch", 1), 2)
SUPERNET = Column("supernet %", _scaled("valid_accuracy", 100), 2)
SEARCH = (
    Column("epochs", _scaled("epochs", 1), 0),
    Column("search s", _scaled("search_seconds", 1), 0),
    Column("peak MiB", _scaled("peak_memory_bytes", 2**-20), 0),
)
CELLS = (
    Column("params k", _scaled("params", 1e-3), 0),
    Column("skips", _scaled("skip_count", 1), 2),
    Count("collapsed", _scaled("collapsed", 1), 0),
)
# A table that fits a terminal each.
PARTS: dict[str, tuple[Column, ...]] = {
    "What the cells found reach": ACCURACIES,
    "Where that stands": (RANK, AT_BEST, SUPERNET),
    "What the searches took": SEARCH,
    "What the cells are": CELLS,
}
COLUMNS = tuple(column for columns in PARTS.values() for column in columns)
NOTES = (
    "mean ± sample standard deviation over the seeds",
    "at best valid.: the cell of the epoch whose supernet had the best validation accuracy",
    "supernet: its accuracy on images as its task shows them (masked ones in semantic): not to be "
    "compared across tasks",
    "random: a cell drawn at random for each seed, without a search",
    "collapsed: more than half of the operations of the (normal) cell have no weights",
)


@dataclass(frozen=True)
class Table:
    """Texts, ready to be set."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As GitHub reads it; figures to the right."""
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        return "".join(f"| {' | '.join(map(markdown, line))} |\n" for line in lines)

    def latex(self) -> str:
        """A tabular, with rules of the booktabs package."""
        lines = [" & ".join(map(latex, line)) + r" \\" for line in (self.columns, *self.rows)]
        body = [lines[0], r"\midrule", *lines[1:]]
        layout = "l" + "r" * (len(self.columns) - 1)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{layout}}}",
                r"\toprule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )


def summarise(
    plan: Plan, rows: Sequence[Row], published: Published, columns: Sequence[Column] = COLUMNS
) -> Table:
    """A line a method, in the plan's order, of mean ± sample standard deviation over its seeds.

    A column is there when some trial has the figure; below a method's line is that of the paper,
    where it has one. Methods without a finished trial are left out.
    """
    by_method = {
        method.label: [row for row in rows if row["method"] == method.label]
        for method in plan.methods
    }
    given = {label: some for label, some in by_method.items() if some}
    shown = [c for c in columns if any(c.read(row) is not None for row in rows)]
    lines: list[tuple[str, ...]] = []
    for label, some in given.items():
        lines.append((label, str(len(some)), *(_text(column, some) for column in shown)))
        papers = [published.get(label, {}).get(column.title, "") for column in shown]
        if any(papers):
            lines.append(("  paper", "", *papers))
    return Table(("method", "seeds", *(column.title for column in shown)), tuple(lines))


def undecided_searches(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """Methods with undecided searches: how many of how many."""
    counts: dict[str, list[bool]] = {}
    for row in rows:
        if "undecided" in row:
            counts.setdefault(row["method"], []).append(bool(row["undecided"]))
    return [(label, sum(found), len(found)) for label, found in counts.items() if any(found)]


def _text(column: Column, rows: Sequence[Row]) -> str:
    values = [value for row in rows if (value := column.read(row)) is not None]
    return column.text(values) if values else ""
