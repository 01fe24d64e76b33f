"""How the MLPerf Tiny scores of a network are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sdedge.cli.output import shown, table
from sdedge.cli.render.figures import percent

if TYPE_CHECKING:
    from sdedge.deploy.fit.mlperf import Comparison, Score


def show_scores(out: Console, scores: Sequence["Score"]) -> None:
    """The network against each reference of MLPerf Tiny; nothing without a score."""
    if not scores:
        return
    rows = (
        (score.precision, each.benchmark, *_compared(score, each))
        for score in scores
        for each in score.comparisons
    )
    columns = ("weights", "benchmark", "accuracy", "file")
    out.print(table("MLPerf Tiny", columns, rows), soft_wrap=False)
    notes = dict.fromkeys(note for score in scores for note in score.notes)
    for note in (*notes, "a comparison, not an official result"):
        out.print(f"[dim]{shown(note)}[/dim]", soft_wrap=False)


def _compared(score: "Score", comparison: "Comparison") -> tuple[str, str]:
    points = 100 * abs(score.accuracy - comparison.reference_accuracy)
    side = "over" if comparison.accurate else "short of"
    return (
        f"{percent(score.accuracy)}, {points:.2f} {side} {comparison.reference_accuracy:.0%}",
        f"{score.file_size_bytes:,} of {comparison.reference_file_size_bytes:,} bytes",
    )
