"""What an exported ONNX file says of itself: its classes, and how an image becomes its input."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from sdedge import bounds
from sdedge.errors import ExportError
from sdedge.schema import decode_json, to_record

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """See `sdedge.deploy.ir.model.Model`; `mean` and `std` are of RGB in [0, 1]."""

    classes: bounds.ClassNames
    image_size: bounds.ImageSize
    mean: bounds.Mean
    std: bounds.Std
    normalized_in_graph: bool
    resize: str
    genotype: dict[str, Any]
    sdedge_version: str


def read_metadata(path: Path, data: bytes | None = None) -> Metadata:
    """Read from a file that `sdedge export` wrote; ExportError for any other.

    `data` are the bytes of the file, where they are there already.
    """
    try:
        model = onnx.load_from_string(path.read_bytes() if data is None else data)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        values = {
            "classes": _entry(entries, "classes", list[str]),
            "genotype": _entry(entries, "genotype", dict[str, Any]),
            "sdedge_version": entries.get("sdedge_version"),
        }
        preprocessing = _entry(entries, "preprocessing", dict[str, Any])
        return to_record(
            {**preprocessing, **values}, Metadata, source="metadata", error=ExportError
        )
    except (OSError, DecodeError, ExportError) as error:
        raise ExportError(
            f"{path} does not say how to prepare its images ({error}); "
            "make it again with `sdedge export`"
        ) from error


def _entry(entries: Mapping[str, str | bytes], name: str, kind: type[T]) -> T:
    text = entries.get(name, "")
    data = text if isinstance(text, bytes) else text.encode()  # protobuf's, of what is no UTF-8
    return decode_json(data, kind, source=f"metadata {name}", error=ExportError)
