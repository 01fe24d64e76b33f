"""A data set is what its images hold and are called, wherever and whenever they were written."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sdedge.data.catalog import Dataset, load_dataset
from sdedge.data.division import divide
from sdedge.errors import DataError

MakeFolder = Callable[..., Path]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def load_folder(folder: Path, **options: object) -> Dataset:
        return load_dataset(str(folder), tmp_path / "data", **options)

    return load_folder


def test_a_moved_or_copied_folder_is_the_same_data_set(
    tmp_path: Path, make_images: MakeFolder, load: Callable[..., Dataset]
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    before = load(folder)
    shutil.copytree(folder, tmp_path / "other" / "copy")  # with new times of change
    copied = load(tmp_path / "other" / "copy")
    folder.rename(tmp_path / "moved")
    moved = load(tmp_path / "moved")
    assert before.fingerprint == copied.fingerprint == moved.fingerprint
    assert (before.train.images == moved.train.images).all()


@pytest.mark.parametrize("change", ["content", "name", "class", "more", "fewer", "size", "seed"])
def test_another_data_set_has_another_fingerprint(
    tmp_path: Path, make_images: MakeFolder, load: Callable[..., Dataset], change: str
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    before = load(folder).fingerprint
    first = folder / "a" / "000.png"
    options = {"size": {"image_size": 16}, "seed": {"seed": 1}}.get(change, {})
    if change == "content":  # of the same length, and with the times of the old one
        state = first.stat()
        data = bytearray(first.read_bytes())
        data[-5] ^= 1
        first.write_bytes(data)
        os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "name":
        first.rename(folder / "a" / "new.png")
    elif change == "class":
        first.rename(folder / "b" / "new.png")
    elif change == "more":
        Image.new("RGB", (32, 32), "red").save(folder / "a" / "red.png")
    elif change == "fewer":
        first.unlink()
    assert load(folder, **options).fingerprint != before


def test_files_are_read_once(
    tmp_path: Path,
    make_images: MakeFolder,
    load: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    read: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, kind: (read.append(file.name), digest(file, kind))[1]
    )
    before = load(folder).fingerprint
    assert len(read) == 10
    load(folder)
    assert len(read) == 10
    os.utime(folder / "a" / "000.png")
    assert load(folder).fingerprint == before
    assert len(read) == 11
    for index in (tmp_path / "data" / "content").iterdir():
        index.write_bytes(b"{damaged")
    assert load(folder).fingerprint == before
    assert len(read) == 21


def test_images_that_come_or_go_leave_the_others_in_their_split() -> None:
    digests = [f"{number:04x}" for number in range(1000)]
    held_out = dict(zip(digests, divide(digests, 0, "a"), strict=True))
    assert 170 < sum(held_out.values()) < 230
    part = digests[::3]
    assert divide(part, 0, "a") == [held_out[digest] for digest in part]
    assert divide(digests, 1, "a") != divide(digests, 0, "a")


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_either_split_has_an_image_of_each_class(count: int) -> None:
    for turn in range(200):
        held_out = divide([f"{turn}-{number}" for number in range(count)], 0, "a")
        assert 1 <= sum(held_out) < count


def test_copies_of_an_image_stay_together() -> None:
    digests = [f"{number:04x}" for number in range(100)]
    once = divide(digests, 0, "a")
    assert divide(digests * 2, 0, "a") == once * 2
    with pytest.raises(DataError, match="class a has 1 image, 3 times over"):
        divide(["same"] * 3, 0, "a")


def test_test_images_that_are_training_images_are_told(
    tmp_path: Path, make_images: MakeFolder, load: Callable[..., Dataset]
) -> None:
    root = tmp_path / "set"
    make_images(root / "train", ("a", "b"), 4)
    make_images(root / "test", ("a", "b"), 2)
    shutil.copy(root / "train" / "a" / "001.png", root / "test" / "a" / "copy.png")
    (note,) = load(root).notes
    assert note.startswith(
        "1 of 5 test images are training images as well (test/a/copy.png is train/a/001.png)"
    )


def test_classes_are_named_so_that_they_can_be_shown(
    tmp_path: Path, make_images: MakeFolder, load: Callable[..., Dataset]
) -> None:
    folder = make_images(tmp_path / os.fsdecode(b"caf\xe9"), ("a\nb", os.fsdecode(b"\xe9t")), 3)
    dataset = load(folder)
    assert dataset.name == r"caf\xe9"
    assert dataset.classes == (r"a\nb", r"\xe9t")
    assert load(folder).fingerprint == dataset.fingerprint
    make_images(folder, (r"a\nb",), 3)
    with pytest.raises(DataError, match=r"two class folders are both shown as a\\nb; rename one"):
        load(folder)


def test_grey_pictures_of_a_set_share_one_scale(
    tmp_path: Path, make_images: MakeFolder, load: Callable[..., Dataset]
) -> None:
    """12 bits in 16: each scaled by its own maximum, a dark one would be as bright as the rest."""
    import numpy as np

    folder = make_images(tmp_path / "set", ("a", "b"), 3)
    for number, value in enumerate((0x0FFF, 0x0400, 0x0200, 0x0100)):
        grey = np.full((32, 32), value, np.uint16)
        Image.fromarray(grey).save(folder / "a" / f"deep{number}.png")
    dataset = load(folder)
    flat = [
        int(image.max())
        for split in (dataset.train, dataset.test)
        for image in split.images
        if image.min() == image.max()
    ]
    assert sorted(flat) == [0x10, 0x20, 0x40, 0xFF]
    assert dataset.notes == (
        "4 pictures of 16 bits a pixel use the lower 12 alone; they are all scaled from 0..4,095",
    )
