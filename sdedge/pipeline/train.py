"""A training: from a genotype and images to the weights of a network in a run directory."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.config import SearchConfig, TrainConfig
from sdedge.data.dataset import Dataset
from sdedge.data.provenance import read_images, searched_on
from sdedge.device import own_torch
from sdedge.errors import ConfigError
from sdedge.events import Event, Notice, Reporter, silent
from sdedge.genotype import Genotype, load_genotype, named_run
from sdedge.paths import checked_path
from sdedge.pipeline.budget import budgeted_size, carry_budget
from sdedge.pipeline.images import open_dataset
from sdedge.pipeline.runs import take_folder
from sdedge.pipeline.search import SearchResult
from sdedge.pipeline.settings import (
    absolute_config,
    check_whole,
    moved_settings,
    preset_text,
    resolve_preset,
    resumed_config,
    with_absolute_paths,
)
from sdedge.proportion import interval
from sdedge.run import RunDir
from sdedge.training.phase import TrainPhase, check_training
from sdedge.training.runner import TrainOutcome, run_training

# What a training takes over from the search whose genotype it trains.
_INHERITED = ("dataset", "data_root", "data_seed", "image_size", "seed")


@dataclass(frozen=True)
class TrainStarted(Event):
    """Everything is in place, and the first step comes."""

    config: TrainConfig
    dataset: str
    origin: str  # of the settings: the preset in words, or that the run resumes
    run: Path


@dataclass(frozen=True)
class Majority:
    """The class with most test images, and the accuracy of always answering it."""

    name: str
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class TrainResult(TrainOutcome):
    """Accuracy and size of a trained network, and where it is."""

    run: Path
    weights: Path
    config: TrainConfig
    test_images: int
    majority: Majority

    @property
    def beats_majority(self) -> bool:
        """Whether the network is better than always answering one class, as far as can be told."""
        return interval(self.test_accuracy, self.test_images)[0] > self.majority.accuracy

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "run": str(self.run),
            "test_accuracy": self.test_accuracy,
            "test_images": self.test_images,
            "params": self.counts.params,
            "macs": self.counts.macs,
            "epochs": len(self.records),
            "train_seconds": self.seconds,
        }


def train(
    genotype: SearchResult | Genotype | str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    preset: str = "auto",
    run: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter = silent,
    **settings: Any,
) -> TrainResult:
    """Train the network that a genotype makes (DARTS, section 3.2).

    Args:
        genotype: the result of a search, which is trained in its run directory; or a `Genotype`, a
            published name, a run directory, a file, or a cell as text, which is trained in a run
            of its own. By default that of the search in `run`.
        config: all settings; or leave it out, and give some of them by name. What is given in
            neither way follows the preset, but the data set, the image size and the seed follow the
            search, and width and depth its budget.
        preset: `paper`, `quick`, `demo`, `imagenet`; `auto` is `paper` on a GPU, `quick` on a CPU.
        run: the run directory; by default the newest below runs/, or a new one for a genotype that
            is given.
        resume: continue the training in `run` from its last checkpoint; only `dataset` and
            `data_root` may be given then.
        reporter: called with each event.
        settings: fields of `TrainConfig`.

    Raises ConfigError, GenotypeError, DataError, RunError, and InterruptedRunError, after a
    checkpoint, on Ctrl-C.
    """
    check_whole(config, TrainConfig, preset, settings, resume=resume)
    if isinstance(genotype, SearchResult):
        if run is not None:
            raise ConfigError(
                "the result of a search is trained in its own run directory; leave out run, or "
                "give result.genotype"
            )
        run, genotype = genotype.run, None
    path = None if run is None else checked_path(run)
    source = str(genotype) if isinstance(genotype, Path) else genotype
    with own_torch(), ExitStack() as held:
        if resume:
            training = _resume(path, source, preset, settings, held, reporter)
        else:
            training = _begin(path, source, config, preset, settings, held, reporter)
        return _finish(training, reporter, resume=resume)


@dataclass(frozen=True)
class _Training:
    """A training that can run."""

    data: Dataset
    origin: str
    phase: TrainPhase
    run: RunDir


def _resume(
    path: Path | None,
    genotype: str | Genotype | None,
    preset: str,
    settings: Mapping[str, Any],
    held: ExitStack,
    reporter: Reporter,
) -> _Training:
    others = {"genotype": genotype is not None, "preset": preset != "auto"}
    given = [name for name, was_given in others.items() if was_given]
    moved = moved_settings(TrainConfig.check(settings), *given)
    run = RunDir.open(path)
    held.enter_context(run.lock())
    resumed = resumed_config(run, "train", TrainConfig, moved)
    data = open_dataset(resumed, reporter)
    return _Training(data, "resumed", TrainPhase(resumed, load_genotype(run.genotype), data), run)


def _begin(
    path: Path | None,
    source: str | Genotype | None,
    config: TrainConfig | None,
    preset: str,
    settings: Mapping[str, Any],
    held: ExitStack,  # takes the lock of the run directory
    reporter: Reporter,
) -> _Training:
    origin: RunDir | None
    if source is None:
        searched = RunDir.open(path)
        path, origin = searched.path, searched
        genotype = load_genotype(searched.require(searched.genotype, "search"))
    else:
        genotype = source if isinstance(source, Genotype) else load_genotype(source)
        origin = _named_run(source)
    after = ("search",) if source is None else ()
    take_folder(held, path, "train", after=after)
    if config is None:
        config, how = _from_preset(preset, TrainConfig.check(settings), origin, reporter)
    else:
        config, how = absolute_config(config), "with a config"
    check_training(config)
    data = open_dataset(config, reporter)
    if origin and (record := read_images(origin.images("search"))):
        for note in searched_on(record, data):
            reporter(Notice(note, warning=True))
    phase = TrainPhase(config, genotype, data)
    run = RunDir.create(data.name, path)
    take_folder(held, run.path, "train", after=after)  # another may have made it meanwhile
    if origin:
        carry_budget(origin, run)
    return _Training(data, how, phase, run)


def _named_run(source: str | Genotype) -> RunDir | None:
    path = None if isinstance(source, Genotype) else named_run(source)
    return RunDir(path) if path else None


def _from_preset(
    preset: str, settings: dict[str, Any], origin: RunDir | None, reporter: Reporter
) -> tuple[TrainConfig, str]:
    """The config, and the preset in words.

    The data are those of the search that the genotype is of, where that is known, and so are width
    and depth if it had a budget.
    """
    chosen = resolve_preset(preset, settings)
    inherited = _inherited(origin) if origin else {}
    recipe = TrainConfig.presets().get(chosen, {})
    if "image_size" in recipe:  # a recipe for a size of its own
        inherited.pop("image_size", None)
    if origin:
        inherited |= budgeted_size(origin, settings, recipe, reporter)
    config = TrainConfig.from_preset(chosen, with_absolute_paths({**inherited, **settings}))
    return config, preset_text(preset, chosen)


def _inherited(origin: RunDir) -> dict[str, Any]:
    """Settings of the search that the genotype is of, where it is known."""
    settings = origin.phases().get("search")
    if settings is None:
        return {}
    searched = SearchConfig.from_dict(settings, source=str(origin.config)).to_dict()
    return {name: searched[name] for name in _INHERITED if searched[name] is not None}


def _finish(training: _Training, reporter: Reporter, *, resume: bool) -> TrainResult:
    phase, run, data = training.phase, training.run, training.data
    reporter(TrainStarted(phase.config, data.name, training.origin, run.path))
    outcome = run_training(phase, run, reporter, resume=resume)
    return TrainResult(
        **vars(outcome),
        run=run.path.absolute(),
        weights=run.weights.absolute(),
        config=phase.config,
        test_images=len(data.test.labels),
        majority=_majority(data),
    )


def _majority(data: Dataset) -> Majority:
    counts = [int((data.test.labels == label).sum()) for label in range(len(data.classes))]
    most = max(counts)
    return Majority(data.classes[counts.index(most)], most / sum(counts))
