"""Which run a link of the chain works on: a folder, the result of an earlier link, or the newest.

No torch.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from sdedge.errors import RunError
from sdedge.lock import lock_if_there
from sdedge.paths import checked_path
from sdedge.run import RunDir, refuse_foreign


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
    path: Any = getattr(run, "run", run)  # `checked_path` refuses what is no path
    if path is None:
        raise RunError("this result is of a file outside of any run; name the run directory")
    return RunDir.open(checked_path(path))


def take_folder(
    held: ExitStack, path: Path | None, phase: str, *, after: tuple[str, ...] = ()
) -> None:
    """Lock `path` for a new `phase`, until `held` ends; a folder that is not there yet is passed.

    `after` names the phases that the new one continues from. Raises RunError when another process
    is at work there, or it holds what the phase would change.
    """
    if path is None:
        return
    refuse_foreign(path)
    held.enter_context(lock_if_there(path))
    phases = RunDir(path).phases()
    if phase in phases:
        raise RunError(
            f"{path} holds a {phase} already; resume it: sdedge {phase} --resume --run {path}"
            + (f"; or start over: sdedge train --genotype {path}" if phase == "train" else "")
        )
    if others := sorted(phases.keys() - set(after)):
        raise RunError(
            f"{path} holds a {others[0]}, whose cell a new {phase} would replace; "
            "choose another folder with --run"
        )
