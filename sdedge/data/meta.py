"""The meta.json of a cache: what its arrays hold and which source they were decoded from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sdedge.bounds import ClassNames, Images, Positive
from sdedge.data.dataset import Channels
from sdedge.errors import DataError
from sdedge.schema import encode_json, read_record, to_record

__all__ = ["META_FILE", "Counts", "Meta", "read_meta"]

META_FILE = "meta.json"
_FORMAT = 2  # raise it when the layout of the cache or the decoding changes
_Side = Annotated[int, msgspec.Meta(ge=1, le=65_536)]  # pixels


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of each split."""

    train: Images
    test: Images


@dataclass(frozen=True, kw_only=True)
class Meta:
    """See `sdedge.data.dataset.Dataset` and `sdedge.data.source.Source` for the fields."""

    name: str
    origin: str
    identity: str
    fingerprint: str
    image_size: _Side
    classes: ClassNames
    mean: Channels
    std: tuple[Positive, Positive, Positive]
    counts: Counts
    has_masks: bool
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The text of the file; DataError where a number is not finite."""
        value = {"format": _FORMAT, **asdict(self)}
        return encode_json(value, source=META_FILE, indent=2, error=DataError) + "\n"


def read_meta(path: Path) -> Meta:
    """Read and check; DataError where the file is missing, damaged, or of another format."""
    fields = read_record(path, dict[str, Any], error=DataError)
    if fields.pop("format", None) != _FORMAT:
        raise DataError(f"{path} is not of format {_FORMAT}")
    return to_record(fields, Meta, source=str(path), error=DataError)
