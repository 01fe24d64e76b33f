"""Folders of images: layouts, splits, defaults, and what is said of those that are not usable."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdedge.data.catalog import Dataset, load_dataset
from sdedge.errors import ConfigError, DataError

MakeFolder = Callable[..., Path]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def load_folder(folder: Path, **options: object) -> Dataset:
        return load_dataset(str(folder), tmp_path / "data", **options)

    return load_folder


def _content(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_train_and_test_folders(tmp_path: Path, make_images: MakeFolder, load: Callable) -> None:
    root = tmp_path / "animals"
    make_images(root / "train", ("dog", "cat"), 6)
    make_images(root / "test", ("cat", "dog"), 3)
    dataset = load(root)
    assert dataset.name == "animals"
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_size == 32
    assert dataset.train.images.shape == (12, 32, 32, 3)
    assert dataset.test.images.shape == (6, 32, 32, 3)
    assert dataset.notes == ()
    for image, label in zip(dataset.train.images, dataset.train.labels, strict=True):
        sources = root.glob(f"train/{dataset.classes[label]}/*.png")
        assert any(np.array_equal(image, np.asarray(Image.open(path))) for path in sources)


def test_val_stands_in_for_test(tmp_path: Path, make_images: MakeFolder, load: Callable) -> None:
    make_images(tmp_path / "set" / "train", ("a", "b"), 3)
    make_images(tmp_path / "set" / "val", ("a", "b"), 2)
    (tmp_path / "set" / "test").mkdir()  # ImageNet's test images have no class folders
    (tmp_path / "set" / "test" / "0001.png").write_bytes(b"")
    dataset = load(tmp_path / "set")
    assert len(dataset.test.labels) == 4
    unused = tmp_path / "set" / "test"
    assert dataset.notes == (f"{unused} is not used: a split without class folders",)


def test_a_class_may_be_called_train(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    assert load(make_images(tmp_path / "vehicles", ("bus", "train"), 5)).classes == ("bus", "train")


def test_class_folders_alone_are_split_by_class(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b", "c"), 40)
    make_images(tmp_path / "set", ("few",), 2)
    first, again, other = load(folder), load(folder), load(folder, seed=1)
    counts = np.bincount(first.train.labels) + np.bincount(first.test.labels)
    assert counts.tolist() == [40, 40, 40, 2]
    assert np.bincount(first.test.labels).min() >= 1
    assert 16 <= len(first.test.labels) <= 32  # 24 are a fifth
    everything = _content(first.train.images) | _content(first.test.images)
    assert len(everything) == 122  # nothing lost, nothing twice
    assert _content(first.test.images) == _content(again.test.images)
    assert _content(first.test.images) != _content(other.test.images)


def test_any_stretch_of_the_training_images_has_all_classes(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    """A search takes the first half for the weights and the second for the architecture."""
    labels = load(make_images(tmp_path / "set", ("a", "b"), 50)).train.labels
    first, second = labels[:40], labels[40:]
    assert min(*np.bincount(first), *np.bincount(second)) >= 12


@pytest.mark.parametrize(
    ("suffix", "form"), [("avif", "AVIF"), ("jp2", "JPEG2000"), ("jpe", "JPEG"), ("tif", "TIFF")]
)
def test_less_usual_formats_are_images(
    tmp_path: Path, make_images: MakeFolder, load: Callable, suffix: str, form: str
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    for name in ("a", "b"):
        picture = Image.new("RGB", (20, 20), (200, 30, 60))
        picture.save(folder / name / f"more.{suffix}", format=form)
    dataset = load(folder)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 12
    assert dataset.notes == ()


def test_files_that_are_not_used_are_named_with_the_reason(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    (folder / "a" / "notes.txt").write_text("hello")
    (folder / "a" / "Thumbs.db").write_bytes(b"\0")
    (folder / "a" / ".hidden.png").write_bytes(b"\0")
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("hello")
    (folder / "a" / "photo.heic").write_bytes(b"\0")
    (folder / "a" / "scan").write_bytes(b"\0")
    os.mkfifo(folder / "b" / "pipe.png")  # to open it would wait for ever
    (folder / "b" / "piped.png").symlink_to("pipe.png")
    (folder / "b" / "zero.png").symlink_to("/dev/zero")  # has no end
    (folder / "b" / "link").symlink_to(folder / "a")
    (folder / "b" / "@eaDir" / "000.png").mkdir(parents=True)
    for name in ("SYNOPHOTO_THUMB_M.jpg", "SYNOPHOTO_THUMB_S.jpg"):
        (folder / "b" / "@eaDir" / "000.png" / name).write_bytes(b"\0")
    dataset = load(folder)
    assert dataset.classes == ("a", "b")
    assert len(dataset.train.labels) + len(dataset.test.labels) == 10
    (note,) = dataset.notes
    assert note.startswith("13 files are left out: ")
    for part in (
        "3 of a file server or desktop (a/Thumbs.db, b/@eaDir/000.png/SYNOPHOTO_THUMB_",
        "2 hidden (.git, a/.hidden.png)",
        "2 not of a supported image format (a/notes.txt, a/photo.heic)",
        "1 outside the class folders (README.md)",
        "1 without a suffix (a/scan)",
        "3 not a regular file (b/pipe.png, b/piped.png, b/zero.png)",
        "1 behind a link to a folder (b/link)",
    ):
        assert part in note


def test_unreadable_files_are_counted_and_named(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = tmp_path / "set"
    make_images(folder / "train", ("a", "b"), 4)
    make_images(folder / "test", ("a", "b"), 2)
    Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "train" / "a" / "cut.jpg")
    whole = (folder / "train" / "a" / "cut.jpg").read_bytes()
    (folder / "train" / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "b" / "empty.PNG").write_bytes(b"")
    (folder / "test" / "a" / "text.jpeg").write_text("not an image")
    (folder / "test" / "b" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    dataset = load(folder)
    assert len(dataset.train.labels) == 8
    assert len(dataset.test.labels) == 4
    (note,) = dataset.notes
    assert note.startswith("4 of 16 images could not be read and are left out: ")
    for name in ("train/a/cut.jpg", "train/b/empty.PNG", "test/a/text.jpeg", "test/b/gone.jpg"):
        assert name in note
    assert load(folder).notes == dataset.notes  # told again when the cache is opened


def test_a_single_unreadable_file_is_left_out(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 4)
    (folder / "a" / "bad.png").write_bytes(b"")
    (note,) = load(folder).notes
    assert note.startswith("1 of 9 images could not be read and is left out: ")


def test_many_unreadable_files_are_named_in_part(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 4)
    for number in range(8):
        (folder / "a" / f"bad{number}.png").write_bytes(b"")
    (note,) = load(folder).notes
    assert note.startswith("8 of 16 images could not be read and are left out: ")
    assert note.endswith("and 3 more")
    assert note.count("bad") == 5


def test_a_class_with_no_readable_image(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 3)
    (folder / "broken").mkdir()
    for number in range(3):
        (folder / "broken" / f"{number}.png").write_bytes(bytes([number]))
    with pytest.raises(DataError, match=r"no readable train image of broken .*broken/\d\.png"):
        load(folder)
    assert not list((tmp_path / "data" / "cache").iterdir())


@pytest.mark.parametrize(
    ("side", "size"), [(16, 32), (48, 32), (49, 64), (300, 64)], ids=lambda value: str(value)
)
def test_the_default_size_follows_the_median(
    tmp_path: Path, make_images: MakeFolder, load: Callable, side: int, size: int
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 3, side)
    Image.new("RGB", (400, 20)).save(folder / "a" / "wide.png")
    dataset = load(folder)
    assert dataset.image_size == size
    assert dataset.train.images.shape[1:] == (size, size, 3)


def test_another_size_is_another_cache(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 3)
    assert load(folder, image_size=16).train.images.shape[1:] == (16, 16, 3)
    assert load(folder).train.images.shape[1:] == (32, 32, 3)
    assert len(list((tmp_path / "data" / "cache").iterdir())) == 2


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_an_image_size_out_of_range(
    tmp_path: Path, make_images: MakeFolder, load: Callable, size: int
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 3)
    with pytest.raises(ConfigError, match=f"image_size is {size}"):
        load(folder, image_size=size)


def test_normalisation_is_that_of_the_training_images(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    dataset = load(make_images(tmp_path / "set", ("a", "b"), 10))
    scaled = dataset.train.images / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(dataset.std, scaled.std((0, 1, 2)), rtol=1e-9)


def test_links_to_class_folders_are_followed_and_loops_are_not(
    tmp_path: Path, make_images: MakeFolder, load: Callable
) -> None:
    real = make_images(tmp_path / "real", ("a", "b"), 4)
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "x").symlink_to(real / "a")
    (folder / "y").symlink_to(real / "b")
    (real / "a" / "loop").symlink_to(real)
    dataset = load(folder)
    assert dataset.classes == ("x", "y")
    assert len(dataset.train.labels) + len(dataset.test.labels) == 8


def test_images_may_lie_deeper(tmp_path: Path, make_images: MakeFolder, load: Callable) -> None:
    folder = make_images(tmp_path / "set", ("a/day", "a/night", "b"), 3)
    dataset = load(folder)
    assert dataset.classes == ("a", "b")
    assert len(dataset.train.labels) + len(dataset.test.labels) == 9


def test_names_that_are_not_text(tmp_path: Path, make_images: MakeFolder, load: Callable) -> None:
    folder = make_images(tmp_path / "größe 3*", ("ä", "b"), 3)
    os.rename(folder / "ä" / "000.png", os.fsencode(folder / "ä") + b"/\xff.png")
    Path(os.fsdecode(os.fsencode(folder / "b") + b"/\xfe.png")).write_bytes(b"")
    dataset = load(folder)
    assert dataset.classes == ("b", "ä")
    assert r"b/\xfe.png" in dataset.notes[0]  # can be printed
    assert load(folder).train.images.shape == dataset.train.images.shape


def _no_classes(root: Path, make_images: MakeFolder) -> None:
    root.mkdir()


def _one_class(root: Path, make_images: MakeFolder) -> None:
    make_images(root, ("only",), 3)


def _empty_class(root: Path, make_images: MakeFolder) -> None:
    make_images(root, ("a", "b"), 3)
    (root / "void").mkdir()


def _single_image(root: Path, make_images: MakeFolder) -> None:
    make_images(root, ("a", "b"), 3)
    make_images(root, ("lone",), 1)


def _no_test(root: Path, make_images: MakeFolder) -> None:
    make_images(root / "train", ("a", "b"), 3)


def _other_classes(root: Path, make_images: MakeFolder) -> None:
    make_images(root / "train", ("a", "b", "new"), 3)
    make_images(root / "test", ("a", "b"), 3)


def _more_test_classes(root: Path, make_images: MakeFolder) -> None:
    make_images(root / "train", ("a", "b"), 3)
    make_images(root / "val", ("a", "b", "odd"), 3)


def _empty_test_class(root: Path, make_images: MakeFolder) -> None:
    make_images(root / "train", ("a", "b"), 3)
    make_images(root / "test", ("a",), 3)
    (root / "test" / "b").mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_classes, "0 class folders found, at least 2"),
        (_one_class, "1 class folders found, at least 2"),
        (_empty_class, "no image in class void"),
        (_single_image, "class lone has 1 image; a split needs at least 2"),
        (_no_test, "no test/ or val/"),
        (_other_classes, "does not have: new"),
        (_more_test_classes, "does not have: odd"),
        (_empty_test_class, "test: no image in b"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_folder_that_is_not_usable_says_why(
    tmp_path: Path,
    make_images: MakeFolder,
    load: Callable,
    make: Callable[[Path, MakeFolder], None],
    message: str,
) -> None:
    make(tmp_path / "set", make_images)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "set")
    assert str(tmp_path / "set") in str(caught.value)
