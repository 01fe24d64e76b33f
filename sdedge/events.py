"""What work reports while it runs: small frozen records, handed to a callable.

    def reporter(event: Event) -> None:
        match event:
            case Progressed(what, done, total): ...

Reporting is optional: without a reporter sdedge is silent. Events that one module alone has are
defined next to its function; those that several have are here. No torch.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of everything that is reported."""


@dataclass(frozen=True)
class Notice(Event):
    """A sentence for people; `warning` marks what they should act on."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Progressed(Event):
    """Work of a known kind moved on: `done` of `total` units (None: not known yet)."""

    what: str
    done: int
    total: int | None = None


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """The reporter that reports nothing."""
