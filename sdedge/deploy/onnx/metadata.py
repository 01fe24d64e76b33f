"""What an exported ONNX file says of itself: its classes, and how an image becomes its input."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from sdedge.errors import ExportError


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """See `sdedge.deploy.onnx.write.to_onnx`; `mean` and `std` are of RGB in [0, 1]."""

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalized_in_graph: bool
    resize: str
    genotype: dict[str, Any]
    sdedge_version: str


def read_metadata(path: Path) -> Metadata:
    """Read from a file that `sdedge export` wrote; ExportError for any other."""
    try:
        model = onnx.load(path, load_external_data=False)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        preprocessing = json.loads(entries["preprocessing"])
        return Metadata(
            classes=tuple(json.loads(entries["classes"])),
            image_size=preprocessing["image_size"],
            mean=tuple(preprocessing["mean"]),
            std=tuple(preprocessing["std"]),
            normalized_in_graph=preprocessing["normalized_in_graph"],
            resize=preprocessing["resize"],
            genotype=json.loads(entries["genotype"]),
            sdedge_version=entries["sdedge_version"],
        )
    except (OSError, DecodeError, KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{path} does not say how to prepare its images ({error}); "
            "make it again with `sdedge export`"
        ) from error
