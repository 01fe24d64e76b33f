"""The meta.json of a cache: what its arrays hold and which source they were decoded from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sdedge.data.dataset import Channels

__all__ = ["META_FILE", "Meta", "read_meta"]

META_FILE = "meta.json"
T = TypeVar("T")
_FORMAT = 2  # raise it when the layout of the cache or the decoding changes


@dataclass(frozen=True)
class Meta:
    """See `sdedge.data.dataset.Dataset` and `sdedge.data.source.Source` for the fields."""

    name: str
    origin: str
    identity: str
    fingerprint: str
    image_size: int
    classes: tuple[str, ...]
    mean: Channels
    std: Channels
    counts: dict[str, int]  # images in "train" and "test"
    has_masks: bool
    notes: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, allow_nan=False) + "\n"


def read_meta(path: Path) -> Meta:
    """Read and check; raises OSError where the file is missing, ValueError where it is damaged."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict) or fields.pop("format", None) != _FORMAT:
        raise ValueError(f"{path}: not the meta data of a cache of format {_FORMAT}")
    try:
        meta = Meta(
            name=_typed(fields["name"], str),
            origin=_typed(fields["origin"], str),
            identity=_typed(fields["identity"], str),
            fingerprint=_typed(fields["fingerprint"], str),
            image_size=_typed(fields["image_size"], int),
            classes=tuple(_typed(name, str) for name in fields["classes"]),
            mean=_channels(fields["mean"]),
            std=_channels(fields["std"]),
            counts={name: _typed(fields["counts"][name], int) for name in ("train", "test")},
            has_masks=_typed(fields["has_masks"], bool),
            notes=tuple(_typed(note, str) for note in fields["notes"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged, at {error}") from error
    if not meta.classes or meta.image_size < 1 or min(meta.std) <= 0:
        raise ValueError(f"{path}: classes, image_size or std out of range")
    return meta


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _channels(values: Any) -> Channels:
    red, green, blue = (_typed(value, float) for value in values)
    return red, green, blue
