"""The formats that an export can write, by name."""

from collections.abc import Iterable

from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.errors import ConfigError

FORMATS: dict[str, Format] = {"onnx": ONNX}


def register(new: Format) -> None:
    """Add a format to those of `sdedge export --format`.

    Raises ConfigError where the name or the suffix of a file is another format's.
    """
    for known in FORMATS.values():
        if known.name == new.name or {*known.suffixes} & {*new.suffixes}:
            raise ConfigError(
                f"format {new.name!r} with files {', '.join(new.suffixes)}: format {known.name!r} "
                "has that name or such files; choose others"
            )
    FORMATS[new.name] = new


def find_formats(names: Iterable[str]) -> tuple[Format, ...]:
    """The formats of these names, each once, after ONNX, which every export writes.

    Measurements, predictions and the checks of other formats are of the ONNX file. Raises
    ConfigError for an unknown name.
    """
    found = {ONNX.name: ONNX}
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"format is {name!r}; choose from {', '.join(FORMATS)}")
        found[name] = FORMATS[name]
    return tuple(found.values())
