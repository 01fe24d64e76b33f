"""What a data set with a name of its own is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from sdedge.data.source import Source

__all__ = ["DatasetRow", "NamedDataset"]


class DatasetRow(TypedDict):
    """One data set as `sdedge datasets` shows it."""

    name: str
    classes: int
    images: int
    image_size: int
    where: str
    on_disk: bool
    needs_download: bool


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A data set that is opened by name, not as a folder."""

    source: Callable[[Path, int | None, int], Source]
    """From the data root, the image size in pixels (None: its own) and the seed."""

    describe: Callable[[Path], DatasetRow]
    """What `sdedge datasets` shows of it, from the data root; opens no image."""
