"""CIFAR through torchvision: a tiny archive laid out like the real one, and what goes wrong."""

import hashlib
import io
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets import utils

from sdedge.data.catalog import load_dataset
from sdedge.errors import DataError

NAMES = [f"class {index}" for index in range(10)]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(url: str, *_: object, **__: object) -> str:
        raise URLError("Name or service not known")

    monkeypatch.setattr(utils, "_get_redirect_url", unreachable)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)


@pytest.fixture
def archive(tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of ten images a file, which torchvision takes for the real one."""
    batches = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    members = {
        name: pickle.dumps(
            {
                "data": images[start : start + 10].transpose(0, 3, 1, 2).reshape(10, -1),
                "labels": list(range(10)),
            }
        )
        for name, start in zip(batches, range(0, 60, 10), strict=True)
    }
    members["batches.meta"] = pickle.dumps({"label_names": NAMES})
    path = tmp_path / "real.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    cifar = datasets.CIFAR10
    monkeypatch.setattr(cifar, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar, "train_list", [[name, sums[name]] for name in batches[:5]])
    monkeypatch.setattr(cifar, "test_list", [[name, sums[name]] for name in batches[5:]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": sums["batches.meta"]})
    return path


def test_an_archive_that_was_put_there_needs_no_network(
    tmp_path: Path, archive: Path, images: np.ndarray
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(archive, root / "cifar-10-python.tar.gz")
    dataset = load_dataset("cifar10", root)
    np.testing.assert_array_equal(dataset.train.images, images[:50])  # in the published order
    np.testing.assert_array_equal(dataset.test.images, images[50:])
    assert dataset.train.labels.tolist() == list(range(10)) * 5
    assert dataset.classes == tuple(NAMES)
    assert dataset.value_range == pytest.approx((-1.9892, 2.1268), abs=1e-4)


def test_the_cache_outlives_the_download(tmp_path: Path, archive: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(archive, root / "cifar-10-python.tar.gz")
    first = load_dataset("cifar10", root)
    (root / "cifar-10-python.tar.gz").unlink()
    shutil.rmtree(root / "cifar-10-batches-py")
    np.testing.assert_array_equal(load_dataset("cifar10", root).train.images, first.train.images)


def test_another_size_is_scaled(tmp_path: Path, archive: Path, images: np.ndarray) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(archive, root / "cifar-10-python.tar.gz")
    dataset = load_dataset("cifar10", root, image_size=16)
    halved = images[:50].reshape(50, 16, 2, 16, 2, 3).mean((2, 4))
    assert dataset.image_size == 16
    assert np.abs(dataset.train.images - halved).mean() < 15  # the filter reaches further


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_offline(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    file = f"cifar-{name.removeprefix('cifar')}-python.tar.gz"
    for part in (
        f"https://www.cs.toronto.edu/~kriz/{file}",
        "Name or service not known",
        f"put it at {tmp_path / file},",
        "pass a folder of images",
        "--dataset shapes",
    ):
        assert part in message
    assert "damaged" not in message


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(b"half of it")
    with pytest.raises(DataError, match="incomplete or damaged") as caught:
        load_dataset("cifar10", tmp_path)
    assert str(path) in str(caught.value)


def test_a_download_cut_off_does_not_spoil_the_next(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = archive.read_bytes()
    served = iter([content[: len(content) // 2], content])

    def download(url: str, filename: str, **_: object) -> None:
        Path(filename).write_bytes(next(served))

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", download)
    root = tmp_path / "data"
    with pytest.raises(DataError, match="incomplete or damaged"):
        load_dataset("cifar10", root)
    assert len(load_dataset("cifar10", root).train.labels) == 50


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10", tmp_path / "file" / "data")
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize(
    ("error", "text"),
    [(tarfile.ReadError("unexpected end of data"), "unexpected end"), (EOFError("cut"), "cut")],
)
def test_an_archive_that_does_not_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def fail(*_: object, **__: object) -> Callable[[], None]:
        raise error

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(DataError, match=text):
        load_dataset("cifar100", tmp_path)
