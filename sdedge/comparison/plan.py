"""What a comparison is to run: methods, seeds, and the settings that they share. No torch."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Self

from msgspec import Meta

from sdedge.bounds import Seed
from sdedge.comparison.method import Method
from sdedge.config import PhaseConfig, SearchConfig, TrainConfig, check_setting
from sdedge.errors import ConfigError
from sdedge.run import read_json
from sdedge.schema import to_record

FILE = "comparison.json"  # in the folder of a comparison: its plan, and then what came out
_PLACE = frozenset(
    ("data_root", "device", "impl", "cuda_graphs", "checkpoint_seconds", "seed", "benchmark_table")
)
# What a training takes over from the search before it.
_INHERITED = ("dataset", "data_root", "data_seed", "image_size", "seed", "device")


Methods = Annotated[tuple[Method, ...], Meta(max_length=200)]
Seeds = Annotated[tuple[Seed, ...], Meta(max_length=1000)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One comparison. Raises ConfigError when there is nothing to compare, or twice the same."""

    methods: Methods
    seeds: Seeds
    preset: str  # of the searches
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the searches, over the preset
    train: str | None = None  # preset of a training of each architecture found; None: none
    train_settings: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None  # the table of the paper that it repeats

    def __post_init__(self) -> None:
        check_setting("seeds", self.seeds, Seeds)
        labels = [method.label for method in self.methods]
        for what, given in (("methods", labels), ("seeds", [*map(str, self.seeds)])):
            if not given:
                raise ConfigError(f"no {what} to compare")
            if twice := sorted({item for item in given if given.count(item) > 1}):
                raise ConfigError(f"{what} given twice: {', '.join(twice)}")
        for method, other in combinations(self.methods, 2):
            if method.settings == other.settings:
                raise ConfigError(f"{method.label} and {other.label} are the same method")
        if self.train_settings and self.train is None:
            raise ConfigError(
                f"settings of a training ({', '.join(self.train_settings)}), and no --train"
            )

    @property
    def trials(self) -> Iterator[tuple[Method, int]]:
        """Every method with every seed; a seed is done for all methods before the next one."""
        return ((method, seed) for seed in self.seeds for method in self.methods)

    def search_config(
        self, method: Method, seed: int, strategy_settings: Mapping[str, Any]
    ) -> SearchConfig:
        """Settings of one search; `strategy_settings` are the strategy's own."""
        return SearchConfig.from_preset(
            self.preset, {**self.settings, **method.settings, "seed": seed}, strategy_settings
        )

    def train_config(self, search: SearchConfig) -> TrainConfig | None:
        """Settings of the training after a search, or None."""
        if self.train is None:
            return None
        inherited = {name: getattr(search, name) for name in _INHERITED}
        return TrainConfig.from_preset(self.train, {**inherited, **self.train_settings})

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON form; RunError naming the file when it is damaged."""
        plan = read_json(path).get("plan")
        return to_record(plan, cls, source=f"{path} is damaged: plan")


def differences(config: PhaseConfig, published: PhaseConfig) -> dict[str, tuple[Any, Any]]:
    """Settings in which `config` departs from the published ones: name -> (published, here).

    Those that say where and which, not how, are no part of a protocol.
    """
    here, there = config.to_dict(), published.to_dict()
    return {
        name: (there[name], value)
        for name, value in here.items()
        if value != there[name] and name not in _PLACE
    }
