"""The formats that an export can write, by name."""

from collections.abc import Iterable

from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.errors import ConfigError
from sdedge.registration import Registration, check_class, register

FORMATS: dict[str, Format] = {ONNX.name: ONNX}


def register_format(new: Format) -> Registration:
    """Make a format from outside known by its name.

    It stays known until the registration is undone, or to the end of its `with` block. Raises
    ConfigError for no Format, for a name that is taken or cannot be one, and where its files would
    take the names of another format's.
    """
    check_class(new, Format)
    for known in FORMATS.values():
        if shared := {*known.suffixes} & {*new.suffixes}:
            raise ConfigError(
                f"format {new.name!r} has files ending in {', '.join(sorted(shared))}, as format "
                f"{known.name!r} has; give it other suffixes"
            )
    return register(FORMATS, new.name, new, kind="format")


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
