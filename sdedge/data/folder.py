"""A folder of images as a source: `train/` with `test/` or `val/`, or class folders alone."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdedge.data.decode import IMAGE_SUFFIXES, decode_file, shorter_side
from sdedge.data.source import Block, Decoded, Source, Stream
from sdedge.errors import DataError
from sdedge.resources import usable_cpus

__all__ = ["folder_source"]

_TEST_FOLDERS = ("test", "val")
_TEST_SHARE = 0.2
_SMALL_SIDE = 48
_SAMPLED_SIDES = 200
_BLOCK = 512
_TASK = 32
_NAMED = 5


@dataclass(frozen=True)
class _File:
    name: str  # relative to the data set's folder
    size: int  # bytes
    changed_ns: int


_Classes = dict[str, list[_File]]


def folder_source(root: Path, image_size: int | None, seed: int) -> Source:
    """The folder `root` as a source.

    Class folders alone are split 80/20 by `seed`, class by class. `image_size` None means 32
    where the median shorter side is at most 48 pixels and 64 elsewhere. Both splits are stored in
    a fixed random order, so that any stretch of them has all classes.
    Raises DataError where the layout is not one of the two, or a class is missing or empty.
    """
    root = root.resolve()
    train_folder, test_folder, notes = _layout(root)
    if test_folder is None:
        train, test = _divide(root, _scan(root, root), seed)
        split = f"seed {seed}"
    else:
        train, test = _scan(root, train_folder), _scan(root, test_folder)
        _check_same_classes(train_folder, train, test_folder, test)
        split = test_folder.name
    _check_classes(root, train)
    size = _default_size(root, train) if image_size is None else image_size
    return Source(
        name=root.name,
        origin=str(root),
        identity=f"folder {root} at {size} pixels, {split}",
        fingerprint=_fingerprint(train, test),
        image_size=size,
        decode=lambda: Decoded(tuple(train), _stream(root, train, size), _stream(root, test, size)),
        notes=notes,
    )


def _layout(root: Path) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The train folder, the test folder where there is one, and what to tell about the rest."""
    train = root / "train"
    if not train.is_dir() or not _subfolders(train):
        return root, None, ()
    found = [root / name for name in _TEST_FOLDERS if (root / name).is_dir()]
    labelled = [folder for folder in found if _subfolders(folder)]
    if not labelled:
        raise DataError(
            f"{root}: train/ has no test/ or val/ of class folders beside it; "
            "add one, or pass the train folder itself to have it split"
        )
    notes = tuple(f"{folder} is not used" for folder in found if folder != labelled[0])
    return train, labelled[0], notes


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error


def _scan(root: Path, folder: Path) -> _Classes:
    """The image files of each class folder in `folder`, both in order of their names."""
    classes: _Classes = {}
    for path in _subfolders(folder):
        prefix = os.path.relpath(path, root)
        try:
            classes[path.name] = sorted(_images(path, prefix), key=lambda file: file.name)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return classes


def _images(folder: Path | str, prefix: str) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not entry.is_symlink():  # a link may lead back here
                    yield from _images(entry.path, name)
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                yield _described(entry, name)


def _described(entry: os.DirEntry[str], name: str) -> _File:
    try:
        status = entry.stat()
    except OSError:  # a dangling link: listed, so that it is counted among the unreadable files
        return _File(name, 0, 0)
    return _File(name, status.st_size, status.st_mtime_ns)


def _check_same_classes(
    train_folder: Path, train: _Classes, test_folder: Path, test: _Classes
) -> None:
    for here, there, names in (
        (train_folder, test_folder, train.keys() - test.keys()),
        (test_folder, train_folder, test.keys() - train.keys()),
    ):
        if names:
            raise DataError(
                f"{here} has classes that {there} does not have: {_listed(sorted(names))}; "
                "both need the same class folders"
            )
    empty = [name for name, files in test.items() if not files]
    if empty:
        raise DataError(f"{test_folder}: no image in {_listed(empty)}; add some or remove it")


def _check_classes(root: Path, classes: _Classes) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} class folders found, at least 2 are needed; expected "
            "<folder>/<class>/*.jpg, or <folder>/train/<class>/*.jpg with test/ or val/ beside it"
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(f"{root}: no image in class {_listed(empty)}; add some or remove it")


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _divide(root: Path, classes: _Classes, seed: int) -> tuple[_Classes, _Classes]:
    """Split each class 80/20, with at least one image on either side."""
    _check_classes(root, classes)
    train: _Classes = {}
    test: _Classes = {}
    for index, (name, files) in enumerate(classes.items()):
        if len(files) < 2:
            raise DataError(f"{root}: class {name} has 1 image; a split needs at least 2")
        order = np.random.default_rng([seed, index]).permutation(len(files))
        held_out = max(1, round(_TEST_SHARE * len(files)))
        test[name] = [files[row] for row in sorted(order[:held_out])]
        train[name] = [files[row] for row in sorted(order[held_out:])]
    return train, test


def _default_size(root: Path, classes: _Classes) -> int:
    files = [file for members in classes.values() for file in members]
    sampled = np.unique(np.linspace(0, len(files) - 1, _SAMPLED_SIDES).astype(np.int64))
    sides = []
    for row in sampled:
        try:
            sides.append(shorter_side(root / files[row].name))
        except DataError:  # decoding will count and name it
            continue
    return 32 if sides and np.median(sides) <= _SMALL_SIDE else 64


def _fingerprint(train: _Classes, test: _Classes) -> str:
    """Changes with any file's name, size or time of change, and with the split."""
    digest = hashlib.sha256()
    for split in (train, test):
        for name, files in split.items():
            digest.update(os.fsencode(f"{name}\n"))
            for file in files:
                digest.update(os.fsencode(f"{file.name}\0{file.size}\0{file.changed_ns}\n"))
    return digest.hexdigest()


def _stream(root: Path, classes: _Classes, size: int) -> Stream:
    items = [(file.name, label) for label, files in enumerate(classes.values()) for file in files]
    order = np.random.default_rng(0).permutation(len(items))
    return Stream(len(items), _blocks(root, [items[row] for row in order], size))


def _blocks(root: Path, items: list[tuple[str, int]], size: int) -> Iterator[Block]:
    """Decode in threads: Pillow releases the interpreter lock while it decodes and scales."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(items), _BLOCK):
            block = items[start : start + _BLOCK]
            tasks = [block[first : first + _TASK] for first in range(0, len(block), _TASK)]
            with warnings.catch_warnings():  # Pillow warns of damaged metadata, file by file
                warnings.simplefilter("ignore")
                decoded = list(pool.map(lambda task: _decode(root, task, size), tasks))
            images = [pair for part in decoded for pair in part]
            yield _block(block, images, size)


def _decode(root: Path, task: list[tuple[str, int]], size: int) -> list[NDArray[np.uint8] | None]:
    return [_decode_or_none(root / name, size) for name, _ in task]


def _decode_or_none(path: Path, size: int) -> NDArray[np.uint8] | None:
    try:
        return decode_file(path, size)
    except DataError:
        return None


def _block(
    items: list[tuple[str, int]], images: list[NDArray[np.uint8] | None], size: int
) -> Block:
    readable = [image for image in images if image is not None]
    rows = list(zip(items, images, strict=True))
    return Block(
        images=np.array(readable, np.uint8).reshape(-1, size, size, 3),
        labels=np.array([label for (_, label), image in rows if image is not None], np.int64),
        skipped=tuple(_shown(name) for (name, _), image in rows if image is None),
    )


def _shown(name: str) -> str:
    """The name as it can be printed, whatever bytes the file system holds."""
    return os.fsencode(name).decode("utf-8", "replace")
