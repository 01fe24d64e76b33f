"""sdedge compare"""

from typing import Annotated, Any

import typer

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.comparison.recipes import RECIPES, SEEDS
from sdedge.config import SearchConfig, parse_settings
from sdedge.errors import ConfigError

# What --resume goes with: the others are the comparison's own.
_WITH_RESUME = {"run", "resume", "seeds", "benchmark_table", "markdown", "latex", "json_output"}
# Settings that methods and seeds vary, or that a comparison seldom needs: by --set.
_NO_OPTION = {
    "strategy",
    "task",
    "seed",
    "impl",
    "mask_ratio",
    "mask_fill",
    "target",
    "max_latency_ms",
    "max_ram_kb",
    "max_flash_kb",
    "max_params",
    "confidence",
    "int8",
    "checkpoint_seconds",
}


@guarded
@options.from_config(SearchConfig, without=_NO_OPTION)
def compare(
    *,
    context: typer.Context,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Methods, joined by commas: STRATEGY, TASK, or STRATEGY@TASK, each with any "
            "number of :SETTING=VALUE; see `sdedge strategies`. semantic is darts@semantic."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Joined by commas.")] = ",".join(map(str, SEEDS)),
    recipe: Annotated[
        str | None,
        typer.Option(help=f"A table of the paper: {', '.join(RECIPES)}."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Of the searches: paper, quick, demo; auto as in `sdedge search`.")
    ] = "auto",
    train: Annotated[
        str | None,
        typer.Option(help="Train each cell found, by this preset (none: not even in a recipe)."),
    ] = None,
    random: Annotated[
        bool,
        typer.Option("--random/--no-random", help="Random cells, to compare with those searched."),
    ] = True,
    overrides: dict[str, Any],
    train_settings: Annotated[
        list[str] | None,
        typer.Option("--train-set", metavar="NAME=VALUE", help="Any setting of the trainings."),
    ] = None,
    run: options.NewRun = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print the table as Markdown.")] = False,
    latex: Annotated[bool, typer.Option(help="Print the table as LaTeX (booktabs).")] = False,
    json_output: options.Json = False,
) -> None:
    """Compare search methods: each with each seed, in one table with a random baseline."""
    from sdedge.cli.render.compare import ConsoleReporter
    from sdedge.pipeline.compare import compare as run_comparison
    from sdedge.pipeline.settings import refuse_with_resume

    if markdown + latex + json_output > 1:
        raise ConfigError("--markdown, --latex and --json exclude each other")
    out = console(json_output=markdown or latex or json_output)
    given = _given(context)
    if resume:
        refuse_with_resume(sorted(given - _WITH_RESUME))
    with ConsoleReporter(out) as reporter:
        result = run_comparison(
            strategies,
            seeds=None if resume and "seeds" not in given else _integers(seeds),
            recipe=recipe,
            preset=preset,
            train=train,
            random=random,
            train_settings=parse_settings(train_settings or [], how="--train-set"),
            run=run,
            resume=resume,
            reporter=reporter,
            **overrides,
        )
    if json_output:
        print_json(result.to_dict())
    elif markdown or latex:
        summary = result.table()
        typer.echo(summary.markdown() if markdown else summary.latex(), nl=False)


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"seeds are {text!r}; they must be integers joined by commas") from None


def _given(context: typer.Context) -> set[str]:
    """Names of the options that stand on the command line."""
    return {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
