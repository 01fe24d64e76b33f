"""sdedge search"""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.config import SearchConfig

if TYPE_CHECKING:
    from sdedge.pipeline.search import SearchResult


@guarded
@options.from_config(SearchConfig)
def search(
    *,
    preset: Annotated[
        str, typer.Option(help="paper, quick, demo; auto is paper on a GPU, quick on a CPU.")
    ] = "auto",
    overrides: dict[str, Any],
    run: options.NewRun = None,
    resume: options.Resume = False,
    json_output: options.Json = False,
) -> None:
    """Search a cell: DARTS guided by masked image modelling (Semantic-DARTS).

    With a target or limits, the cell and the size of its network are chosen to fit them.
    """
    out = console(json_output=json_output)
    result = search_and_show(out, preset=preset, run=run, resume=resume, **overrides)
    if json_output:
        print_json(result.to_dict())


def search_and_show(out: Console, **arguments: Any) -> "SearchResult":
    """Search, and show on `out` how it goes and what comes of it; see `sdedge.search`."""
    from sdedge.cli.render.search import ConsoleReporter
    from sdedge.pipeline.search import search as run_search

    with ConsoleReporter(out) as reporter:
        return run_search(reporter=reporter, **arguments)
