"""What is compared: a search strategy, the task that guides it, and settings of its own. No torch.

On the command line a method is `STRATEGY`, `TASK`, or `STRATEGY@TASK`, and then any number of
`:setting=value`. A strategy alone is searched on classification, as its paper does; a task alone
guides plain DARTS, so that `semantic` is Semantic-DARTS.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from sdedge.config import parse_settings
from sdedge.errors import ConfigError
from sdedge.escape import short

RANDOM = "random"
_LONGEST_FOLDER = 200  # file systems allow 255 bytes
Names = Collection[str]
# Settings that a comparison has one of.
_SHARED = {"seed", "space", "dataset", "data_root", "data_seed", "device", "benchmark_table"}


@dataclass(frozen=True)
class Method:
    """One row of a comparison."""

    label: str  # as given on the command line
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.folder) > _LONGEST_FOLDER:
            raise ConfigError(
                f"method {short(self.label)} is too long for the name of a folder; set what all "
                "methods have in common with --set"
            )

    @property
    def random(self) -> bool:
        """Whether it draws its architecture instead of searching it."""
        return self.label == RANDOM

    @property
    def folder(self) -> str:
        """What its run directories are called."""
        return quote(self.label.replace(":", ","), safe=",=@+")

    @classmethod
    def parse(cls, label: str, strategies: Names, tasks: Names) -> "Method":
        """Read one method; ConfigError for what is neither a strategy nor a task."""
        name, *pairs = label.strip().split(":")
        if name == RANDOM and not pairs:
            return cls(RANDOM)
        strategy, separator, task = name.partition("@")
        if not separator:
            in_tasks = strategy in tasks
            strategy, task = ("darts", strategy) if in_tasks else (strategy, "classification")
        for part in strategy.split("+"):
            if part not in strategies:
                raise ConfigError(
                    f"{short(part)} is neither a strategy ({', '.join(strategies)}) nor a task "
                    f"({', '.join(tasks)})"
                )
        if task not in tasks:
            raise ConfigError(f"unknown task {short(task)}; there is: {', '.join(tasks)}")
        own = {"strategy": strategy, "task": task}
        for pair in pairs:
            if pair.partition("=")[0] in _SHARED:
                raise ConfigError(f"method {label}: {pair!r} is for the whole comparison to say")
        return cls(label.strip(), parse_settings(pairs, own, how=f"method {label}:"))
