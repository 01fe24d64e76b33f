"""Which run a link of the chain works on: a folder, the result of an earlier link, or the newest.

No torch.
"""

from pathlib import Path
from typing import Protocol

from sdedge.errors import RunError
from sdedge.paths import checked_path
from sdedge.run import RunDir


class HasRun(Protocol):
    """The result of a link; `run` is None where it worked on a file outside of any run."""

    @property
    def run(self) -> Path | None:
        """The run directory."""


RunLike = str | Path | HasRun | None


def open_run(run: RunLike = None) -> RunDir:
    """The run directory `run`, that of a result, or the newest below runs/.

    Raises RunError where there is none, and ConfigError for what cannot be a path.
    """
    if run is None:
        return RunDir.open()
    path = run if isinstance(run, str | Path) else run.run
    if path is None:
        raise RunError("this result is of a file outside of any run; name the run directory")
    return RunDir.open(checked_path(path))
