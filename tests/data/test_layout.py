"""Splits are known by the names that people give them, and what only looks like one is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sdedge.data.catalog import Dataset, load_dataset
from sdedge.data.layout import find_layout
from sdedge.errors import DataError

MakeFolder = Callable[..., Path]


def _folders(root: Path, *names: str) -> Path:
    """Folders; those that end in "/" hold a file instead of class folders."""
    for name in names:
        (root / name).mkdir(parents=True)
        if name.endswith("/"):
            (root / name / "0001.jpg").write_bytes(b"")
        else:
            for kind in ("cat", "dog"):
                (root / name / kind).mkdir()
    return root


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAINING", "VALIDATION"),
        ("train", "valid"),
        ("train", "eval"),
        ("training_set", "test_set"),
        ("train_images", "val_images"),
        ("train2017", "val2017"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("pets_train", "pets_test"),
        ("train/train", "test"),
    ],
)
def test_splits_are_recognised(tmp_path: Path, train: str, test: str) -> None:
    layout = find_layout(_folders(tmp_path / "set", train, test))
    assert layout.train == tmp_path / "set" / train
    assert layout.test == tmp_path / "set" / test
    assert layout.unused == ()


def test_other_folders_are_told(tmp_path: Path) -> None:
    """As in Kaggle's set of Intel: seg_pred has no labels."""
    root = _folders(tmp_path / "set", "seg_train/seg_train", "seg_test/seg_test", "seg_pred/x/")
    layout = find_layout(root)
    assert layout.unused == ((root / "seg_pred", "neither the training nor the test split"),)


def test_test_comes_before_validation_whichever_has_class_folders(tmp_path: Path) -> None:
    root = _folders(tmp_path / "a", "train", "valid", "test")
    assert find_layout(root).test == root / "test"
    assert find_layout(root).unused == ((root / "valid", "not needed"),)
    root = _folders(tmp_path / "b", "train", "valid", "test/")
    assert find_layout(root).test == root / "valid"
    assert find_layout(root).unused == ((root / "test", "a split without class folders"),)


def test_a_folder_in_a_folder_of_its_name_is_looked_through(tmp_path: Path) -> None:
    root = _folders(tmp_path / "pets", "pets/train", "pets/test")
    assert find_layout(root).train == root / "pets" / "train"


@pytest.mark.parametrize(
    "names",
    [("bus/", "train/"), ("steam_train/", "diesel_train/"), ("test_tube/", "beaker/")],
    ids=lambda names: names[0],
)
def test_classes_may_have_such_words_in_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    layout = find_layout(_folders(tmp_path / "set", *names))
    assert (layout.train, layout.test) == (tmp_path / "set", None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat/", "dog/", "test/"), "test/ looks like a split, but there is no train/"),
        (("cat/", "dog/", "Valid/"), "Valid/ looks like a split"),
        (("train/", "test/"), "train/, test/ look like splits but have no class folders"),
        (("Train/", "Test"), "Train/, Test/ look like splits but have no class folders"),
        (("train", "training", "test"), "train/ and training/ both look like the training"),
        (("train", "test", "testing"), "test/ and testing/ both look like the test split"),
        (("train", "test/"), r"train has no test/ or val/ of class folders"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_looks_like_a_split_and_cannot_be_used_is_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_layout(_folders(tmp_path / "set", *names))
    assert str(tmp_path / "set") in str(caught.value)


def test_splits_are_not_classes(tmp_path: Path, make_images: MakeFolder) -> None:
    make_images(tmp_path / "set" / "Training", ("cat", "dog"), 4)
    make_images(tmp_path / "set" / "Testing", ("cat", "dog"), 2)
    dataset: Dataset = load_dataset(str(tmp_path / "set"), tmp_path / "data")
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (8, 4)


def test_the_files_of_file_servers_are_no_classes(tmp_path: Path, make_images: MakeFolder) -> None:
    root = make_images(tmp_path / "set", ("cat", "dog", "@eaDir", "__MACOSX"), 4)
    dataset = load_dataset(str(root), tmp_path / "data")
    assert dataset.classes == ("cat", "dog")
    assert dataset.notes[0].startswith("8 files are left out: 8 of a file server or desktop")
