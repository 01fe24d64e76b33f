"""Which subfolders of a data set are its splits: `train/`, `Testing/`, `seg_test/`, `pets_val/`."""

import re
from dataclasses import dataclass
from pathlib import Path

from sdedge.data.scan import is_clutter
from sdedge.errors import DataError
from sdedge.escape import printable

__all__ = ["Layout", "find_layout", "listed", "subfolders"]

_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "test": "test", "testing": "test", "tst": "test",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "validating": "val",
    "eval": "val", "evaluation": "val", "dev": "val", "holdout": "val",
}  # fmt: skip
# Words that leave such a name the name of a split; test_tube is something else.
_COMPANIONS = frozenset(
    {"data", "dataset", "folder", "images", "image", "imgs", "img", "pictures", "photos"}
    | {"seg", "set", "split", "samples"}
)
_NAMED = 5


@dataclass(frozen=True)
class Layout:
    """Where the class folders are; without `test` they are all in `train`, to be divided."""

    train: Path
    test: Path | None
    unused: tuple[tuple[Path, str], ...]  # folders that look like data, and why they are not used


def find_layout(root: Path) -> Layout:
    """The splits of the folder `root`.

    Raises DataError where what looks like a split cannot be used as one.
    """
    root = _unwrapped(root, None)
    folders = subfolders(root)
    roles = _roles(root, folders)
    train = [folder for folder in folders if roles.get(folder) == "train"]
    held_out = [folder for folder in folders if roles.get(folder) in ("test", "val")]
    labelled = {folder: place for folder in roles if (place := _labelled(folder, roles[folder]))}
    if not any(folder in labelled for folder in train):
        _refuse_flat_splits(root, train, held_out)
        return Layout(root, None, ())
    train = [folder for folder in train if folder in labelled]
    chosen = _only(root, train, "training")
    test = next(
        (
            _only(root, found, f"{role} split")
            for role in ("test", "val")
            if (found := [f for f in held_out if roles[f] == role and f in labelled])
        ),
        None,
    )
    if test is None:
        raise DataError(
            f"{_shown(chosen)} has no test/ or val/ of class folders beside it; "
            "add one, or pass the train folder itself to have it split"
        )
    unused = tuple(
        (folder, "a split without class folders" if folder not in labelled else "not needed")
        if folder in roles
        else (folder, "neither the training nor the test split")
        for folder in folders
        if folder not in (chosen, test)
    )
    return Layout(labelled[chosen], labelled[test], unused)


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder`, links included, but for hidden ones and those of other programs."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name)
        )
    except OSError as error:
        raise DataError(f"{_shown(folder)} cannot be read: {error.strerror}") from error


def listed(names: list[str]) -> str:
    """The first five of some names."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _roles(root: Path, folders: list[Path]) -> dict[Path, str]:
    """The split that each folder looks like: "train", "test" or "val"; others are left out."""
    parts = {folder: part for folder in folders if (part := _parted(folder.name))}
    own = set(_words(root.name))
    return {
        folder: role
        for folder, (role, rest) in parts.items()
        if all(word in _COMPANIONS | own or word.isdecimal() for word in rest)
        # fruits_train is a split next to fruits_test; steam_train next to bus is a class.
        or any(rest == other and role != another for another, other in parts.values())
    }


def _parted(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split that a name begins or ends with, and its other words; None for other names."""
    words = _words(name)
    if words and words[-1] in _WORDS:
        return _WORDS[words[-1]], tuple(words[:-1])
    if words and words[0] in _WORDS:
        return _WORDS[words[0]], tuple(words[1:])
    return None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", name.lower())


def _labelled(folder: Path, role: str) -> Path | None:
    """Where the class folders of a split are; None where it has none."""
    folder = _unwrapped(folder, role)
    return folder if subfolders(folder) else None


def _unwrapped(folder: Path, role: str | None) -> Path:
    """Archives often hold a folder of their own name: seg_train/seg_train/<class>."""
    while len(inner := subfolders(folder)) == 1:
        part = _parted(inner[0].name)
        same_role = role is not None and part is not None and part[0] == role
        if not (same_role or inner[0].name.lower() == folder.name.lower()):
            break
        if not subfolders(inner[0]):  # a class of the same name
            break
        folder = inner[0]
    return folder


def _refuse_flat_splits(root: Path, train: list[Path], held_out: list[Path]) -> None:
    """A lone `train` of images may be a class of vehicles; next to a test split it is not."""
    if not held_out:
        return
    names = listed([f"{printable(folder.name)}/" for folder in (*train, *held_out)])
    if train:
        raise DataError(
            f"{_shown(root)}: {names} look like splits but have no class folders; sort their "
            "images into <split>/<class>/, as labels in file names or tables are not read"
        )
    raise DataError(
        f"{_shown(root)}: {names} looks like a split, but there is no train/ of class folders "
        "beside it; move it elsewhere, or rename it if it is a class"
    )


def _only(root: Path, folders: list[Path], what: str) -> Path:
    if len(folders) > 1:
        names = " and ".join(f"{printable(folder.name)}/" for folder in folders)
        raise DataError(f"{_shown(root)}: {names} both look like the {what}; move one elsewhere")
    return folders[0]


def _shown(path: Path) -> str:
    return printable(str(path))
