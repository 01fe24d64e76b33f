"""Device profiles: what a device has, how fast one runtime is on it, and who says so.

A profile is a JSON file. Those that ship lie in `profiles/`; those that were measured lie in the
user's data folder, and one of the same name goes before a shipped one (`measured` tells them
apart). A profile names its runtime, because the runtime alone moves the latency of one network on
one chip by up to 23 times.

Rates are effective: what the runtime reaches, not what the chip could. For each precision:

    overhead_us       run: once an inference; node: for each operator; pixel: for each pixel of the
                      result of a convolution
    gmacs_per_s       10^9 multiply-accumulates a second, by kind of operator
    gbytes_per_s      10^9 bytes a second that an operator reads and writes, by kind; memory: on
                      top, what goes beyond the cache

A rate may come with others for slower paths: "unaligned" for channels that do not fit the
multiple (the block, where nothing is multiplied), "narrow" for convolutions that read fewer
channels than a block, "grouped" for pointwise convolutions in groups, "float" for what an int8
network does in floating point. Further, for each precision:

    channel_block     channels are laid out in blocks of so many
    channel_multiple  convolutions of other numbers of channels take a slower path
    rest_alone        only the channels beyond the last multiple take it, not all of them
    cache_bytes       what an operator may move at the full rate
    error             measured / predicted latency lies from low to high for a share `coverage` of
                      networks, by `networks` that the rates had not been fitted to
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from sdedge.bounds import Count, Quantity, Words
from sdedge.deploy.ir.graph import PRECISIONS, Kind, Precision
from sdedge.deploy.memory.plan import OPERATOR_BYTES
from sdedge.deploy.targets.band import ErrorBand
from sdedge.errors import RunError, TargetError
from sdedge.escape import printable, quoted
from sdedge.files import write_json
from sdedge.names import find_name, suggestion
from sdedge.paths import checked_path, home_folder
from sdedge.run import read_json
from sdedge.schema import to_record

KINDS: tuple[Kind, ...] = get_args(Kind)
CONVOLUTIONS: tuple[Kind, ...] = ("dense", "pointwise", "depthwise")
RUN, NODE, PIXEL = "run", "node", "pixel"
MEMORY = "memory"
UNALIGNED, NARROW, GROUPED, FLOAT = "unaligned", "narrow", "grouped", "float"
RATES: dict[str, tuple[str, ...]] = {
    "overhead_us": (RUN, NODE, PIXEL),
    "gmacs_per_s": (*CONVOLUTIONS, "linear"),
    "gbytes_per_s": (*KINDS, MEMORY),
}
# Where there is none, the rate of the kind is taken.
OPTIONAL_RATES: dict[str, tuple[str, ...]] = {
    "gmacs_per_s": (
        *(f"{kind} {path}" for kind in CONVOLUTIONS for path in (UNALIGNED, NARROW)),
        f"pointwise {GROUPED}",
    ),
    "gbytes_per_s": tuple(
        f"{kind} {path}"
        for kind in ("pooling", "elementwise", "movement")
        for path in (UNALIGNED, FLOAT)
    ),
}
HOST = "host"
_NO_OPERATOR_BYTES = "assumed, as the profile does not say: as STM32Cube.AI"

Rate = tuple[str, str]  # group and name, such as ("gmacs_per_s", "depthwise")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What work costs in one precision; see the top of this file."""

    overhead_us: Mapping[str, Quantity]
    gmacs_per_s: Mapping[str, Quantity]
    gbytes_per_s: Mapping[str, Quantity]
    channel_block: Count
    channel_multiple: Count
    rest_alone: bool
    cache_bytes: Count | None  # None: all memory is equally fast
    error: ErrorBand

    def ms(self, rate: Rate, amount: float) -> float:
        """Milliseconds that `amount` (launches, multiply-accumulates or bytes) takes."""
        group, name = rate
        values: Mapping[str, float] = getattr(self, group)
        # A path of its own only where one was measured.
        value = values[name] if name in values else values[name.split()[0]]
        return amount * value / 1e3 if group == "overhead_us" else amount / value / 1e6


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device with a runtime. `flash_bytes` is None where programs lie on a disk.

    `code_bytes` (flash) and `runtime_ram_bytes` are what the runtime itself takes, and
    `operator_bytes` what it stores of each operator besides weights; a profile without it has
    OPERATOR_BYTES. `power_mw` is of the chip while it computes.
    """

    name: str
    title: Words
    chip: Words
    clock_mhz: Count | None
    runtime: Words
    threads: Count
    ram_bytes: Count
    flash_bytes: Count | None
    code_bytes: Count
    operator_bytes: Count
    runtime_ram_bytes: Count
    power_mw: Quantity | None
    measured: bool  # on the device itself, not taken from published figures
    rates: Mapping[Precision, Rates]
    # Where each figure comes from; one for a group covers its members.
    sources: Mapping[str, Words]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What it runs, its usual precision first."""
        return tuple(self.rates)

    def error(self, precision: Precision) -> ErrorBand:
        """How far predictions in `precision` were off."""
        return self.rates[precision].error

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the name, which is the file's."""
        fields = asdict(self)
        del fields["name"]
        return fields


def load_target(name_or_path: str | Path) -> Target:
    """The profile of this name, or in this JSON file.

    Raises TargetError naming file, field and value when the profile is damaged, and the names
    there are when there is none of this name.
    """
    name = str(name_or_path)
    if name.endswith(".json") or os.sep in name:
        return read_target(checked_path(name, error=TargetError))
    files = _files()
    if found := find_name(name, files):
        return read_target(files[found])
    if find_name(name, (HOST,)):
        raise TargetError(
            "this machine has no profile yet: measure it with `sdedge targets calibrate host`"
        )
    raise TargetError(
        f"no target {quoted(name)}{suggestion(name, [*files, HOST])}: neither a JSON file nor one "
        f"of {', '.join(sorted(files))}"
    )


def shipped_target(name: str) -> Target | None:
    """The profile that comes with sdedge under this name, if there is one."""
    path = _shipped_files().get(name)
    return None if path is None else read_target(path)


def list_targets() -> list[Target]:
    """Every profile there is, those of microcontrollers last; TargetError if one is damaged."""
    targets = [read_target(path) for path in _files().values()]
    return sorted(targets, key=lambda target: (target.flash_bytes is not None, target.name))


def read_target(path: Path) -> Target:
    """Read and check a profile; TargetError naming file, field and value."""
    try:
        data = read_json(path)
    except RunError as error:
        raise TargetError(f"{error}; give a profile as `sdedge targets calibrate` writes") from None
    return parse_target(data, name=path.stem, source=str(path))


def save_target(target: Target) -> Path:
    """Write a measured profile to the user's folder, atomically; returns the file."""
    path = user_folder() / f"{target.name}.json"
    write_json(path, target.to_dict())
    return path


def check_name(name: str) -> None:
    """TargetError for a name that could not be used again."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) or name.endswith(".json"):
        raise TargetError(
            f"{name!r} cannot be a target's name: use small letters, digits and hyphens, as in "
            "my-board"
        )


def user_folder() -> Path:
    """Where measured profiles lie; TargetError for a user without a home folder."""
    root = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(root):  # by the XDG specification no other value counts
        return Path(root) / "sdedge" / "targets"
    if home := home_folder():
        return home / ".local" / "share" / "sdedge" / "targets"
    raise TargetError(
        "this user has no home folder for measured profiles; set XDG_DATA_HOME to a folder"
    )


def _files() -> dict[str, Path]:
    """Profiles by name, a measured one before a shipped one."""
    return {**_shipped_files(), **_user_files()}


def _user_files() -> dict[str, Path]:
    try:
        folder = user_folder()
        names = os.listdir(folder)
    except (TargetError, OSError):  # a folder that this user cannot have or read
        return {}
    return {name[:-5]: folder / name for name in names if name.endswith(".json")}


def _shipped_files() -> dict[str, Path]:
    return {path.stem: path for path in (Path(__file__).parent / "profiles").glob("*.json")}


def parse_target(data: Mapping[str, Any], *, name: str, source: str) -> Target:
    """Check the JSON form; `source` names the file in messages."""
    whole = {**data, "name": name}
    if "operator_bytes" not in data and isinstance(stated := data.get("sources"), Mapping):
        assumed = {"operator_bytes": _NO_OPERATOR_BYTES, **stated}
        whole |= {"operator_bytes": OPERATOR_BYTES, "sources": assumed}
    target = to_record(whole, Target, source=source, error=TargetError, closed=True)
    if not target.rates:
        raise TargetError(f"{source}: rates has none of {', '.join(PRECISIONS)}")
    for precision, rates in target.rates.items():
        _check_names(rates, f"{source}: rates.{precision}")
    for figure in _figures(target.to_dict()):
        if not any(figure == key or figure.startswith(f"{key}.") for key in target.sources):
            raise TargetError(f"{source}: sources does not say where {figure} comes from")
    return target


def _check_names(rates: Rates, where: str) -> None:
    """TargetError for a group of rates that lacks one, or has an unknown one."""
    for group, required in RATES.items():
        names = getattr(rates, group)
        if missing := [name for name in required if name not in names]:
            raise TargetError(f"{where}.{group}.{missing[0]} is missing")
        known = (*required, *OPTIONAL_RATES.get(group, ()))
        if unknown := [name for name in names if name not in known]:
            raise TargetError(f"{where}.{group}.{printable(unknown[0])} is an unknown rate")


def _figures(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _figures(member, f"{path}.{key}" if path else key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path
