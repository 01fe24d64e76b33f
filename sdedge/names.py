"""Names chosen from a list, in any case and with any hyphens and underscores. No torch."""

from collections.abc import Iterable
from difflib import get_close_matches

from sdedge.errors import ConfigError, SdedgeError
from sdedge.escape import quoted

__all__ = ["choose", "find_name", "suggestion"]


def find_name(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` means: "PC_DARTS" and "pcdarts" are pc-darts; None for none.

    Exactly this name goes before others that differ in nothing else.
    """
    names = list(known)
    return name if name in names else {_key(each): each for each in names}.get(_key(name))


def choose(
    name: object, known: Iterable[str], kind: str, *, error: type[SdedgeError] = ConfigError
) -> str:
    """`find_name`; raises `error` for an unknown name, with the closest one and the whole list."""
    names = list(known)
    text = str(name)  # a setting may be anything that JSON has
    if found := find_name(text, names):
        return found
    raise error(
        f"unknown {kind} {quoted(text)}{suggestion(text, names)}; choose from {', '.join(names)}"
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """ " " (did you mean ...?)" with the closest of `known`; empty where none is close."""
    keys = {_key(each): each for each in known}
    close = get_close_matches(_key(name), keys, n=1)
    return f" (did you mean {keys[close[0]]}?)" if close else ""


def _key(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
