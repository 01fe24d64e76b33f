"""A folder of images as a source: a training with a test split, or class folders alone."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdedge.data.content import UNREADABLE, file_digests
from sdedge.data.dataset import Contents
from sdedge.data.decode import decode_file, shorter_side, used_bits
from sdedge.data.division import divide
from sdedge.data.layout import find_layout, listed
from sdedge.data.scan import File, LeftOut, scan_classes
from sdedge.data.source import Block, Decoded, Source, Stream
from sdedge.errors import DataError
from sdedge.escape import printable
from sdedge.resources import usable_cpus

__all__ = ["folder_source"]

_SMALL_SIDE = 48
_SAMPLED_SIDES = 200
_BLOCK = 512
_TASK = 32


@dataclass(frozen=True)
class _Image:
    """A file and the digest of what it holds."""

    file: File
    digest: str


_Classes = dict[str, list[_Image]]


def folder_source(root: Path, image_size: int | None, seed: int, index_folder: Path) -> Source:
    """The folder `root` as a source.

    Class folders alone are split about 80/20 by `seed`, image by image. `image_size` None means
    32 where the median shorter side is at most 48 pixels and 64 elsewhere. Both splits are stored
    in a fixed random order, so that any stretch of them has all classes. Digests of the files are
    kept in `index_folder`. Raises DataError where the layout is not one of those known, or a class
    is missing or empty.
    """
    root = root.resolve()
    layout = find_layout(root)
    left_out = LeftOut()
    scanned = [
        scan_classes(root, folder, left_out)
        for folder in (layout.train, layout.test)
        if folder is not None
    ]
    name, shown = printable(root.name), printable(str(root))
    _check_classes(shown, scanned[0])
    index = index_folder / f"{_short(os.fsencode(root))}.json"
    images = _with_digests(scanned, index)
    if layout.test is None:
        train, test = _divided(shown, images[0], seed)
        split = f"divided by seed {seed}"
    else:
        _check_same_classes(layout.train, scanned[0], layout.test, scanned[1])
        train, test = images
        split = f"tested on {layout.test.name}"
    size = _default_size(train) if image_size is None else image_size
    unused = tuple(f"{printable(str(path))} is not used: {why}" for path, why in layout.unused)
    return Source(
        name=name or "images",
        origin=shown,
        identity=f"folder {shown} at {size} pixels, {split}",
        fingerprint=f"{_fingerprint(train, test)} at {size} pixels",
        image_size=size,
        decode=lambda: _decoded(root, train, test, size),
        notes=(*unused, *left_out.notes(), *_shared_notes(root, train, test)),
        contents=Contents(_digests(train), _digests(test)),
        counts={name: (len(train[name]), len(test[name])) for name in train},
    )


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _with_digests(scanned: list[dict[str, list[File]]], index: Path) -> list[_Classes]:
    files = [file for classes in scanned for members in classes.values() for file in members]
    digests = iter(file_digests(files, index))
    return [
        {name: [_Image(file, next(digests)) for file in members] for name, members in part.items()}
        for part in scanned
    ]


def _digests(classes: _Classes) -> tuple[str, ...]:
    digests = (image.digest for members in classes.values() for image in members)
    return tuple(digest for digest in digests if digest != UNREADABLE)


def _check_same_classes(
    train_folder: Path, train: dict[str, list[File]], test_folder: Path, test: dict[str, list[File]]
) -> None:
    for here, there, names in (
        (train_folder, test_folder, train.keys() - test.keys()),
        (test_folder, train_folder, test.keys() - train.keys()),
    ):
        if names:
            raise DataError(
                f"{printable(str(here))} has classes that {printable(str(there))} does not have: "
                f"{listed(sorted(names))}; both need the same class folders"
            )
    empty = [name for name, files in test.items() if not files]
    if empty:
        raise DataError(
            f"{printable(str(test_folder))}: no image in {listed(empty)}; add some or remove it"
        )


def _check_classes(root: str, classes: dict[str, list[File]]) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} class folders found, at least 2 are needed; expected "
            "<folder>/<class>/*.jpg, or <folder>/train/<class>/*.jpg with test/ or val/ beside it"
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(f"{root}: no image in class {listed(empty)}; add some or remove it")


def _divided(root: str, classes: _Classes, seed: int) -> tuple[_Classes, _Classes]:
    """Split each class, with at least one image on either side."""
    train: _Classes = {}
    test: _Classes = {}
    for name, images in classes.items():
        try:
            held_out = divide([image.digest for image in images], seed, name)
        except DataError as error:
            raise DataError(f"{root}: {error}") from None
        rows = list(zip(images, held_out, strict=True))
        train[name] = [image for image, held in rows if not held]
        test[name] = [image for image, held in rows if held]
    return train, test


def _shared_notes(root: Path, train: _Classes, test: _Classes) -> tuple[str, ...]:
    """A warning about test images that are training images as well, under another name."""
    trained = {image.digest: image for members in train.values() for image in members}
    trained.pop(UNREADABLE, None)
    tested = [image for members in test.values() for image in members]
    shared = [image for image in tested if image.digest in trained]
    if not shared:
        return ()
    first = shared[0]
    pair = f"{_relative(root, first.file)} is {_relative(root, trained[first.digest].file)}"
    return (
        f"{len(shared):,} of {len(tested):,} test images are training images as well ({pair}), "
        "so the test accuracy will look better than it is; remove them from one side",
    )


def _relative(root: Path, file: File) -> str:
    return printable(os.path.relpath(file.path, root))


def _default_size(classes: _Classes) -> int:
    files = [image.file for members in classes.values() for image in members]
    sampled = np.unique(np.linspace(0, len(files) - 1, _SAMPLED_SIDES).astype(np.int64))
    sides = []
    for row in sampled:
        try:
            sides.append(shorter_side(Path(files[row].path)))
        except DataError:  # decoding will count and name it
            continue
    return 32 if sides and np.median(sides) <= _SMALL_SIDE else 64


def _fingerprint(train: _Classes, test: _Classes) -> str:
    """Changes with the content, the name within its class or the split of any image alone."""
    digest = hashlib.sha256()
    for split in (train, test):
        for name, images in split.items():
            digest.update(f"\n{name}\n".encode())
            for image in images:
                digest.update(f"{printable(image.file.name)}\0{image.digest}\n".encode())
        digest.update(b"\n\n")
    return digest.hexdigest()


def _decoded(root: Path, train: _Classes, test: _Classes, size: int) -> Decoded:
    bits, notes = _grey_bits(
        [image.file for split in (train, test) for m in split.values() for image in m]
    )
    first, second = (_stream(root, split, size, bits) for split in (train, test))
    return Decoded(tuple(train), first, second, notes)


def _grey_bits(files: list[File]) -> tuple[int, tuple[str, ...]]:
    """How many bits of sixteen the grey pictures of a set use: one scale for all of them.

    A scale for each file would make the dark ones as bright as the others.
    """
    with ThreadPoolExecutor(usable_cpus()) as pool:
        found = Counter(bits for bits in pool.map(_bits_or_none, files) if bits is not None)
    bits = max(8, max(found, default=16))
    if bits == 16:
        return bits, ()
    return bits, (
        f"{sum(found.values()):,} pictures of 16 bits a pixel use the lower {bits} alone; they are "
        f"all scaled from 0..{2**bits - 1:,}",
    )


def _bits_or_none(file: File) -> int | None:
    try:
        return used_bits(Path(file.path))
    except DataError:  # decoding will count and name it
        return None


def _stream(root: Path, classes: _Classes, size: int, bits: int) -> Stream:
    items = [
        (image.file, label) for label, images in enumerate(classes.values()) for image in images
    ]
    order = np.random.default_rng(0).permutation(len(items))
    return Stream(len(items), _blocks(root, [items[row] for row in order], size, bits))


def _blocks(root: Path, items: list[tuple[File, int]], size: int, bits: int) -> Iterator[Block]:
    """Decode in threads: Pillow releases the interpreter lock while it decodes and scales."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(items), _BLOCK):
            block = items[start : start + _BLOCK]
            tasks = [block[first : first + _TASK] for first in range(0, len(block), _TASK)]
            with warnings.catch_warnings():  # Pillow warns of damaged metadata, file by file
                warnings.simplefilter("ignore")
                decoded = list(pool.map(lambda task: _decode(task, size, bits), tasks))
            yield _block(root, block, [result for part in decoded for result in part], size)


_Result = NDArray[np.uint8] | str  # an image, or why there is none


def _decode(task: list[tuple[File, int]], size: int, bits: int) -> list[_Result]:
    return [_decode_or_reason(Path(file.path), size, bits) for file, _ in task]


def _decode_or_reason(path: Path, size: int, bits: int) -> _Result:
    try:
        return decode_file(path, size, bits)
    except DataError as error:
        return str(error)


def _block(root: Path, items: list[tuple[File, int]], results: list[_Result], size: int) -> Block:
    rows = list(zip(items, results, strict=True))
    readable = [(label, image) for (_, label), image in rows if not isinstance(image, str)]
    return Block(
        images=np.array([image for _, image in readable], np.uint8).reshape(-1, size, size, 3),
        labels=np.array([label for label, _ in readable], np.int64),
        skipped=tuple(
            f"{_relative(root, file)} ({reason})"
            for (file, _), reason in rows
            if isinstance(reason, str)
        ),
    )
