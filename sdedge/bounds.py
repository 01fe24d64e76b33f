"""The type and range of every setting that comes from outside, in one place for each. No torch.

A setting is checked by the same rule wherever it is read: from an option, `--set`, config.json, the
header of a weights file, or a comparison. The upper limits are far above what anyone uses, and
below what would exhaust a machine by a slip of the keyboard.
"""

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from sdedge.errors import ConfigError
from sdedge.escape import short
from sdedge.names import find_name

__all__ = ["check_setting", "describe_type"]

Name = Annotated[str, Meta(min_length=1, max_length=200)]
PathText = Annotated[str, Meta(min_length=1, max_length=4096)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]  # exact as a float, too
Amount = Annotated[float, Meta(ge=0, le=1e300)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Epochs = Annotated[int, Meta(ge=1, le=100_000)]
BatchSize = Annotated[int, Meta(ge=2, le=65_536)]  # batch norm takes two
Images = Annotated[int, Meta(ge=1, le=10**9)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Channels = Annotated[int, Meta(ge=2, le=1024)]
Cells = Annotated[int, Meta(ge=1, le=100)]
Classes = Annotated[int, Meta(ge=1, le=100_000)]
ClassNames = Annotated[tuple[str, ...], Meta(min_length=1, max_length=100_000)]
ImageSize = Annotated[int, Meta(ge=8, le=1024)]  # pixels
PatchSize = Annotated[int, Meta(ge=1, le=1024)]  # pixels
CutoutSize = Annotated[int, Meta(ge=0, le=1024)]  # pixels
Stem = Literal["cifar", "imagenet"]
Share = Annotated[float, Meta(ge=0, le=1)]
ShareBelow1 = Annotated[float, Meta(ge=0, lt=1)]
OpenShare = Annotated[float, Meta(gt=0, lt=1)]
_Mean = Annotated[float, Meta(ge=0, le=1)]
_Std = Annotated[float, Meta(gt=0, le=1)]
Mean = tuple[_Mean, _Mean, _Mean]  # of red, green and blue in [0, 1]
Std = tuple[_Std, _Std, _Std]
Pixel = Annotated[float, Meta(ge=-1000, le=1000)]  # normalised
Positive = Annotated[float, Meta(gt=0, le=1e30)]  # finite in 32 bits, too
NotNegative = Annotated[float, Meta(ge=0, le=1e30)]
Confidence = Annotated[float, Meta(ge=0.5, le=0.99)]
LatencyMs = Annotated[float, Meta(gt=0, le=1e9)]
Kilobytes = Annotated[float, Meta(gt=0, le=1e12)]
Parameters = Annotated[int, Meta(ge=1, le=10**12)]

_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check_setting(name: str, value: object, kind: Any) -> Any:
    """`value` as a `kind`: a list as the tuple that it stands for, a choice as it is spelled.

    Raises ConfigError naming the setting, its value and what it must be.
    """
    if get_origin(kind) is Literal and isinstance(value, str):
        value = find_name(value, get_args(kind)) or value
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        raise ConfigError(f"{name} is {short(value)}; it must be {describe_type(kind)}") from None


def describe_type(kind: Any) -> str:
    """What a value must be, for people: "a whole number between 1 and 100, or null"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ", or ".join("null" if part is type(None) else describe_type(part) for part in parts)
    if origin is Annotated and get_origin(parts[0]) is tuple:
        of = describe_type(get_args(parts[0])[0])
        return f"at most {parts[1].max_length:,} values, each {of}"
    if origin is Annotated:
        return f"{describe_type(parts[0])}{_range(parts[1])}"
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin is tuple:
        return f"{len(parts)} numbers, such as [0.5, 0.999], each {describe_type(parts[0])}"
    return _NOUNS[kind]


def _range(meta: Meta) -> str:
    if meta.max_length is not None:
        return f" of {meta.min_length or 0:,} to {meta.max_length:,} characters"
    least, most = _number(meta.ge, meta.gt), _number(meta.le, meta.lt)
    if meta.ge is not None and meta.le is not None:
        return f" between {least} and {most}"
    low = f"above {least}" if meta.ge is None else f"at least {least}"
    high = f"below {most}" if meta.le is None else f"at most {most}"
    return f" {low} and {high}"


def _number(*of: float | None) -> str:
    (value,) = (each for each in of if each is not None)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
