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
from sdedge.escape import quoted, short
from sdedge.names import choose, find_name, suggestion

RANDOM = "random"
_LONGEST_FOLDER = 200  # file systems allow 255 bytes
Names = Collection[str]
# Settings that a comparison has one of.
_SHARED = {"seed", "space", "dataset", "data_root", "data_seed", "device", "benchmark_table"}


@dataclass(frozen=True)
class Method:
    """One row of a comparison."""

    label: str  # as given on the command line, its names as they are spelled
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
        return quote(self.label.replace(":", ","), safe=",=@+", errors="surrogatepass")

    @classmethod
    def parse(cls, label: str, strategies: Names, tasks: Names) -> "Method":
        """Read one method; ConfigError for what is neither a strategy nor a task."""
        given, *pairs = label.strip().split(":")
        if not pairs and find_name(given, (RANDOM,)):
            return cls(RANDOM)
        first, separator, last = given.partition("@")
        if not separator and (name := find_name(first, tasks)):
            own = {"strategy": "darts", "task": name}
        else:
            name = "+".join(_strategy(part, strategies, tasks) for part in first.split("+"))
            task = choose(last, tasks, "task") if separator else "classification"
            own = {"strategy": name, "task": task}
            name += f"@{task}" if separator else ""
        for pair in pairs:
            if pair.partition("=")[0] in _SHARED:
                raise ConfigError(f"method {label}: {pair!r} is for the whole comparison to say")
        return cls(":".join([name, *pairs]), parse_settings(pairs, own, how=f"method {label}:"))


def _strategy(name: str, strategies: Names, tasks: Names) -> str:
    if found := find_name(name, strategies):
        return found
    raise ConfigError(
        f"{quoted(name)} is neither a strategy ({', '.join(strategies)}) nor a task "
        f"({', '.join(tasks)}){suggestion(name, [*strategies, *tasks])}"
    )
