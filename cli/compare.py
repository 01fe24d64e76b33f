"""sdedge compare"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sdedge.cli import options
from sdedge.cli.output import console, duration, guarded, print_json, table
from sdedge.compare.plan import Plan
from sdedge.compare.recipes import RECIPES, SEEDS, Recipe, get_recipe
from sdedge.config import PhaseConfig, SearchConfig, parse_settings
from sdedge.errors import ConfigError, InterruptedRunError, RunError

if TYPE_CHECKING:
    from sdedge.compare.summary import Table
    from sdedge.data.dataset import Dataset

FILE = "comparison.json"


@guarded
def compare(
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
    baseline: Annotated[
        bool, typer.Option("--random/--no-random", help="Random cells beside those searched.")
    ] = True,
    space: Annotated[str | None, typer.Option(help="darts (default) or nas-bench-201.")] = None,
    benchmark_table: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="In nas-bench-201: what its cells reach."),
    ] = None,
    dataset: options.Dataset = None,
    channels: options.Channels = None,
    cells: options.Cells = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    epoch_images: options.EpochImages = None,
    valid_images: Annotated[
        int | None, typer.Option(help="Images that score each epoch (default: the search half).")
    ] = None,
    image_size: options.ImageSize = None,
    patch_size: Annotated[int | None, typer.Option(help="Side of a masked patch, pixels.")] = None,
    data_root: options.DataRoot = None,
    device: options.Device = None,
    cuda_graphs: options.CudaGraphs = None,
    settings: options.Settings = None,
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
    if markdown + latex + json_output > 1:
        raise ConfigError("--markdown, --latex and --json exclude each other")
    out = console(json_output=markdown or latex or json_output)
    overrides = options.overrides(context, SearchConfig, settings)
    if resume:
        named = {"strategies": strategies, "recipe": recipe, "train": train}
        options.refuse_with_resume([*overrides, *(name for name, value in named.items() if value)])
        if run is None:
            raise ConfigError("--resume goes on with a comparison: name it, --run FOLDER")
        plan, folder = Plan.read(run / FILE), run
    else:
        chosen = get_recipe(recipe) if recipe else None
        plan = _plan(chosen, strategies, seeds, preset, train, baseline, overrides, train_settings)
        folder = _new_folder(run, plan)
    found = _run(out, plan, folder)
    summary, value = _report(out, plan, folder, found)
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
    baseline: bool,
    overrides: dict[str, Any],
    train_settings: list[str] | None,
) -> Plan:
    from sdedge.cli.phases import resolve_preset, with_absolute_paths
    from sdedge.compare.method import RANDOM, Method
    from sdedge.compare.trial import check_trials
    from sdedge.search.strategies import STRATEGIES
    from sdedge.search.tasks import TASKS

    labels = strategies.split(",") if strategies else list(recipe.methods if recipe else ())
    if baseline:
        labels.append(RANDOM)
    known = tuple(STRATEGIES), tuple(TASKS)
    settings = with_absolute_paths({**(recipe.settings if recipe else {}), **overrides})
    trained = (recipe.train if recipe else None) if train is None else train
    plan = Plan(
        methods=tuple(Method.parse(label, *known) for label in labels),
        seeds=_integers(seeds),
        preset=resolve_preset(preset, settings),
        settings=settings,
        train=None if trained == "none" else trained,
        train_settings={
            **(recipe.train_settings if recipe else {}),
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


def _new_folder(path: Path | None, plan: Plan) -> Path:
    from sdedge.run import RunDir, write_json

    if path is not None and (path / FILE).exists():
        raise RunError(
            f"{path} holds a comparison already; go on with it: "
            f"sdedge compare --resume --run {path}"
        )
    folder = RunDir.create("comparison", path).path
    write_json(folder / FILE, {"plan": plan.to_dict()})
    return folder


def _run(out: Console, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    import time

    from sdedge.cli.progress import ConsoleReporter
    from sdedge.compare.trial import place, run_trial

    opened = _opener(out)
    rows: list[dict[str, Any]] = []
    trials = [(method, seed, place(folder, method, seed)) for method, seed in plan.trials]
    left = [
        path for method, _, path in trials if not (method.random or (path / "trial.json").exists())
    ]
    out.print(f"[bold]Compare[/bold] {len(plan.methods)} methods with {len(plan.seeds)} seeds each")
    out.print(f"[dim]  folder {escape(str(folder))}; {len(left)} searches to do[/dim]")
    started, searches = time.monotonic(), len(left)
    for method, seed, path in trials:
        if path in left:
            done = searches - len(left)
            each = (time.monotonic() - started) / done if done else None
            remaining = f"; about {duration(each * len(left))} to go" if each else ""
            out.print(
                f"[bold]{done + 1} of {searches}[/bold]: {escape(method.label)}, seed {seed}"
                f"{remaining}"
            )
            left.remove(path)
        try:
            with ConsoleReporter(out) as reporter:
                rows.append(run_trial(plan, method, seed, path, opened, reporter))
        except InterruptedRunError:
            raise InterruptedRunError(
                f"stopped and saved; go on with: sdedge compare --resume --run {folder}"
            ) from None
    return rows


def _opener(out: Console) -> "Callable[[PhaseConfig], Dataset]":
    """Opens each data set once."""
    from sdedge.cli.phases import open_dataset

    opened: dict[tuple[object, ...], Dataset] = {}

    def dataset(config: PhaseConfig) -> "Dataset":
        key = (config.dataset, config.data_root, config.stored_size, config.data_seed)
        if key not in opened:
            opened[key] = open_dataset(config, out)
        return opened[key]

    return dataset


def _report(
    out: Console, plan: Plan, folder: Path, rows: list[dict[str, Any]]
) -> "tuple[Table, dict[str, Any]]":
    from sdedge.analysis.comparison import draw_comparison
    from sdedge.compare.summary import COST, REACHED, TITLES, summarise
    from sdedge.run import write_json

    reference: dict[str, Any] = {}
    if path := plan.settings.get("benchmark_table"):
        reference = _look_up(plan, folder, rows, path)
    recipe = get_recipe(plan.recipe) if plan.recipe else None
    papers = recipe.published if recipe else {}
    value = {"plan": plan.to_dict(), "rows": rows, **reference}
    write_json(folder / FILE, value)
    methods = [method.label for method in plan.methods]
    best = {TITLES[name]: accuracy for name, accuracy in reference.get("best", {}).items()}
    for suffix in ("svg", "png"):
        draw_comparison(methods, rows, best, folder / f"comparison.{suffix}")
    for title, columns in (("What the cells found reach", REACHED), ("What they took", COST)):
        part = summarise(plan, rows, papers, columns)
        out.print(table(title, part.columns, part.rows), soft_wrap=False)
    out.print("[dim]mean ± sample standard deviation over the seeds[/dim]")
    if reference:
        out.print(f"[dim]{escape(_reference_text(reference))}[/dim]")
    if recipe:
        _tell_cuts(out, plan, recipe)
    out.print(
        f"  {escape(str(folder))}/{FILE}, comparison.svg, comparison.png"
        + (", epochs.svg, epochs.png" if reference else "")
    )
    return summarise(plan, rows, papers), value


def _look_up(plan: Plan, folder: Path, rows: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """Add to each row where its cell stands, and draw that of each epoch's.

    Gives the best and the mean accuracy of the table.
    """
    from sdedge.analysis.trajectories import draw_trajectories
    from sdedge.compare.trial import place
    from sdedge.nasbench201 import Nb201Cell
    from sdedge.run import RunDir
    from sdedge.search.benchmark_table import DATASETS, read_benchmark_table
    from sdedge.search.lookup import look_up, look_up_epochs

    known = read_benchmark_table(path)
    for row in rows:
        row["standings"] = look_up(Nb201Cell.from_dict(row["genotype"]), known)["standings"]
    best = {name: known.highest(name) for name in DATASETS}
    epochs = {
        method.label: [
            look_up_epochs(RunDir(place(folder, method, seed)).read_metrics("search"), known)
            for seed in plan.seeds
        ]
        for method in plan.methods
        if not method.random
    }
    for suffix in ("svg", "png"):
        draw_trajectories(epochs, best, folder / f"epochs.{suffix}")
    return {
        "best": best,
        "mean": {name: known.mean(name) for name in DATASETS},
    }


def _reference_text(reference: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: the best cell {best:.2f}, all cells on average {reference['mean'][name]:.2f}"
        for name, best in reference["best"].items()
    )


def _tell_cuts(out: Console, plan: Plan, recipe: Recipe) -> None:
    """Say in which settings this comparison is not the published one."""
    from sdedge.compare.trial import cuts

    told = cuts(plan, recipe)
    out.print(f"[bold]{recipe.name}[/bold] of the paper: {escape(recipe.summary)}")
    for line in told:
        out.print(f"  {escape(line)}")
    if recipe.left_out:
        out.print(f"  never repeated here: {escape(recipe.left_out)}")
