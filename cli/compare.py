"""sdedge compare"""

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.compare.plan import FILE, Plan
from sdedge.compare.recipes import RECIPES, SEEDS, Recipe, get_recipe
from sdedge.config import SearchConfig, TrainConfig, parse_settings
from sdedge.errors import ConfigError, RunError
from sdedge.names import find_name

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
        bool, typer.Option("--random/--no-random", help="Random cells beside those searched.")
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
    from sdedge.cli.comparing import opener, report, run_trials
    from sdedge.cli.nasbench import known_cells
    from sdedge.compare.trial import check_on_data, is_finished
    from sdedge.files import write_json
    from sdedge.lock import lock_folder, lock_if_there
    from sdedge.run import RunDir

    if markdown + latex + json_output > 1:
        raise ConfigError("--markdown, --latex and --json exclude each other")
    out = console(json_output=markdown or latex or json_output)
    given = _given(context)
    with ExitStack() as held:
        if resume:
            options.refuse_with_resume(sorted(given - _WITH_RESUME))
            held.enter_context(lock_if_there(run))
            table = overrides.get("benchmark_table")
            plan = _resumed(run, table, seeds if "seeds" in given else None)
        else:
            chosen = get_recipe(recipe) if recipe else None
            plan = _plan(
                chosen, strategies, seeds, preset, train, random, overrides, train_settings
            )
            _take_folder(held, run)
        known = known_cells(plan.settings.get("benchmark_table"))
        opened = opener(out)
        for method in plan.methods:
            if not (resume and run and is_finished(run, method, plan.seeds)):
                check_on_data(plan, method, opened)
        folder = run if run and resume else RunDir.create("comparison", run).path
        if resume:
            held.enter_context(lock_folder(folder))
        else:
            _take_folder(held, folder)  # another may have made it meanwhile
        write_json(folder / FILE, {"plan": plan.to_dict()})
        rows, problem = run_trials(out, plan, folder, opened)
        if problem and not rows:
            raise problem
        summary, value = report(out, plan, folder, rows, known)
        if problem:
            raise problem
    if json_output:
        print_json({"run": str(folder), **value})
    elif markdown or latex:
        typer.echo(summary.markdown() if markdown else summary.latex(), nl=False)


def _plan(
    recipe: Recipe | None,
    strategies: str | None,
    seeds: str,
    preset: str,
    train: str | None,
    random: bool,
    overrides: dict[str, Any],
    train_settings: list[str] | None,
) -> Plan:
    from sdedge.cli.phases import resolve_preset, with_absolute_paths
    from sdedge.compare.method import RANDOM, Method
    from sdedge.compare.trial import check_trials
    from sdedge.search.strategies import STRATEGIES
    from sdedge.search.tasks import TASKS

    if not (strategies or recipe):
        raise ConfigError("no methods to compare: --strategies darts,semantic, or --recipe table-3")
    if "seed" in overrides:
        raise ConfigError("seed is given; a comparison has several: --seeds 1,2,3")
    # Commas within brackets are of a list in a setting.
    published = recipe.methods if recipe else ()
    labels = re.split(r",(?![^\[]*\])", strategies) if strategies else list(published)
    if random and RANDOM not in labels:
        labels.append(RANDOM)
    known = tuple(STRATEGIES), tuple(TASKS)
    settings = with_absolute_paths({**(recipe.settings if recipe else {}), **overrides})
    trained = (recipe.train if recipe else None) if train is None else train
    if trained is not None:
        trained = find_name(trained, ("none", *TrainConfig.presets())) or trained
    trained = None if trained == "none" else trained
    plan = Plan(
        methods=tuple(Method.parse(label, *known) for label in labels),
        seeds=_integers(seeds),
        preset=resolve_preset(preset, settings),
        settings=settings,
        train=trained,
        train_settings={
            **(recipe.train_settings if recipe and trained else {}),
            **parse_settings(train_settings or [], how="--train-set"),
        },
        recipe=recipe.name if recipe else None,
    )
    check_trials(plan)
    return plan


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


def _resumed(path: Path | None, benchmark_table: str | None, seeds: str | None) -> Plan:
    """The plan in a folder, with another table, or other seeds, if given."""
    from sdedge.cli.phases import absolute

    if path is None:
        raise ConfigError("--resume goes on with a comparison: name it, --run FOLDER")
    plan = Plan.read(path / FILE)
    if benchmark_table:
        settings = {**plan.settings, "benchmark_table": absolute(benchmark_table)}
        plan = replace(plan, settings=settings)
    if seeds:
        plan = replace(plan, seeds=_integers(seeds))
    return plan


def _take_folder(held: ExitStack, path: Path | None) -> None:
    """Lock a folder, if it is there, until `held` ends; RunError for one that is in use."""
    from sdedge.lock import lock_if_there
    from sdedge.run import refuse_foreign

    if path is None:
        return
    if not (path / FILE).exists():
        refuse_foreign(path)
    held.enter_context(lock_if_there(path))
    if (path / "config.json").exists():
        raise RunError(f"{path} is the run directory of a search; choose another folder with --run")
    if (path / FILE).exists():
        raise RunError(
            f"{path} holds a comparison already; go on with it: "
            f"sdedge compare --resume --run {path}"
        )
