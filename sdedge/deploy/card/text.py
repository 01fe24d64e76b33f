"""Pieces of Markdown that the parts of a model card share."""

from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown, text from outside is escaped before."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def threads(count: int) -> str:
    """1 thread, 4 threads."""
    return f"{count} thread{'s' if count > 1 else ''}"


def amount(value: float, unit: str) -> str:
    """A figure with its unit, "" for a count, to three digits below 100."""
    shown = f"{value:.3g}" if unit and abs(value) < 100 else f"{value:,.0f}"
    return f"{shown} {unit}".rstrip()
