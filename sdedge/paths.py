"""Paths from outside: the command line, settings, and files that a person may have edited.

`checked_path` is the way in: what it returns can be asked `.exists()`, `.is_dir()` and the like
without an exception. No torch.
"""

import os
from pathlib import Path

from sdedge.errors import ConfigError, SdedgeError
from sdedge.escape import quoted, short

__all__ = ["checked_path", "home_folder", "path_problem"]


def checked_path(path: str | Path, *, error: type[SdedgeError] = ConfigError) -> Path:
    """`path`, its ~ expanded, as one that the system can look up; nothing needs to be there.

    Raises `error` for a path that is empty or too long, holds a character that no file name can,
    starts with the ~ of an unknown user, or leads through a file, a folder that may not be entered,
    or links that lead back to themselves.
    """
    if not isinstance(path, str | Path):
        raise error(f"a path is text, and not a {type(path).__name__}: {short(path)}")
    if problem := path_problem(path):
        raise error(f"{quoted(path)} cannot be a path: {problem}")
    try:
        expanded = Path(path).expanduser()
        expanded.stat()
    except FileNotFoundError:
        pass
    except RuntimeError:
        raise error(
            f"{quoted(path)} cannot be expanded: there is no such user, or the user has no home "
            "folder; write the path in full"
        ) from None
    except OSError as reason:
        raise error(f"{quoted(path)} cannot be opened: {reason.strerror}") from None
    return expanded


def path_problem(path: str | Path) -> str | None:
    """Why no system can have a file of that name, whatever is on its disks; None where one can."""
    text = str(path)
    if not text:
        return "it is empty"
    if "\0" in text:
        return "it holds a NUL character"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "it holds a character that cannot be in a file name"
    return None


def home_folder() -> Path | None:
    """The user's home folder; None where HOME is unset and the system does not know the user."""
    try:
        return Path.home()
    except RuntimeError:
        return None
