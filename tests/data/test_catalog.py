"""Names to data sets, and the list of those there are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sdedge.data import shapes
from sdedge.data.catalog import DATASETS, Dataset, Split, describe_datasets, load_dataset
from sdedge.errors import DataError

MakeFolder = Callable[..., Path]


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'cifar11' is neither a data set nor a folder") as caught:
        load_dataset("cifar11", tmp_path)
    assert all(name in str(caught.value) for name in DATASETS)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(DataError, match="is a file, not a folder of images; unpack it"):
        load_dataset(str(tmp_path / "images.zip"), tmp_path)


def test_the_home_folder_may_be_written_short(
    tmp_path: Path, make_images: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_images(tmp_path / "set", ("a", "b"), 3)
    assert load_dataset("~/set", tmp_path / "data").name == "set"


def test_value_range_spans_all_channels() -> None:
    split = Split(None, None)  # type: ignore[arg-type]
    dataset = Dataset("x", ("a",), 32, (0.5, 0.2, 0.9), (0.5, 0.1, 0.3), split, split)
    assert dataset.value_range == pytest.approx((-3.0, 8.0))


def test_nothing_on_disk(tmp_path: Path) -> None:
    rows = describe_datasets(tmp_path / "nowhere")
    assert [row["name"] for row in rows] == list(DATASETS)
    assert [row["needs_download"] for row in rows] == [True, True, False]
    assert [row["on_disk"] for row in rows] == [False, False, True]
    assert [row["classes"] for row in rows] == [10, 100, 10]
    assert [row["images"] for row in rows] == [60_000, 60_000, 5_000]
    assert rows[0]["where"] == str(tmp_path / "nowhere" / "cifar-10-python.tar.gz")
    assert not (tmp_path / "nowhere").exists()


def test_what_is_on_disk(
    tmp_path: Path, make_images: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "IMAGES", {"train": 20, "test": 10})
    (tmp_path / "cifar-100-python").mkdir()
    folder = make_images(tmp_path / "mine", ("a", "b"), 3)
    load_dataset(str(folder), tmp_path)
    load_dataset("shapes", tmp_path)
    (tmp_path / "cache" / "damaged").mkdir()
    (tmp_path / "cache" / "damaged" / "meta.json").write_text("{")
    rows = {row["name"]: row for row in describe_datasets(tmp_path)}
    assert list(rows) == [*DATASETS, "mine"]
    assert not rows["cifar100"]["needs_download"]
    assert rows["mine"] == {
        "name": "mine",
        "classes": 2,
        "images": 6,
        "image_size": 32,
        "where": str(folder),
        "on_disk": True,
        "needs_download": False,
    }
