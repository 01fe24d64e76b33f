"""The cache is built once, rebuilt when stale or damaged, and never seen half written."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdedge.data import cache
from sdedge.data.cache import open_or_build
from sdedge.data.catalog import load_dataset
from sdedge.data.source import Block, Decoded, Source, Stream
from sdedge.errors import DataError

MakeFolder = Callable[..., Path]


class Counted:
    """A source of two classes that counts how often it is decoded."""

    def __init__(self, fingerprint: str = "first", fail_after: int | None = None) -> None:
        self.decoded = 0
        self.fail_after = fail_after
        self.source = Source(
            name="counted",
            origin="memory",
            identity="counted at 8 pixels",
            fingerprint=fingerprint,
            image_size=8,
            decode=self._decode,
            notes=("as it came",),
        )

    def images(self, split: str) -> np.ndarray:
        rng = np.random.default_rng([len(split), len(self.source.fingerprint)])
        return rng.integers(0, 256, (20, 8, 8, 3), np.uint8)

    def _decode(self) -> Decoded:
        self.decoded += 1
        return Decoded(("a", "b"), self._stream("train"), self._stream("test"))

    def _stream(self, split: str) -> Stream:
        return Stream(20, self._blocks(split))

    def _blocks(self, split: str) -> Iterator[Block]:
        images = self.images(split)
        for start in range(0, 20, 5):
            if self.fail_after is not None and start >= self.fail_after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part = images[start : start + 5]
            yield Block(part, np.arange(5, dtype=np.int64) % 2, part[..., 0] > 99)


def _only(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_what_was_decoded_is_what_is_read(tmp_path: Path) -> None:
    counted = Counted()
    dataset = open_or_build(tmp_path, counted.source)
    for split, masks, name in (
        (dataset.train, dataset.masks.train, "train"),
        (dataset.test, dataset.masks.test, "test"),
    ):
        np.testing.assert_array_equal(split.images, counted.images(name))
        np.testing.assert_array_equal(split.labels, np.arange(20) % 5 % 2)
        np.testing.assert_array_equal(masks, counted.images(name)[..., 0] > 99)
        assert isinstance(split.images, np.memmap)
        assert not split.images.flags.writeable
        assert split.labels.dtype == np.int64
    assert dataset.classes == ("a", "b")
    assert dataset.notes == ("as it came",)


def test_the_second_opening_decodes_nothing(tmp_path: Path) -> None:
    counted = Counted()
    first, second = (open_or_build(tmp_path, counted.source) for _ in range(2))
    assert counted.decoded == 1
    assert (first.mean, first.std) == (second.mean, second.std)
    np.testing.assert_array_equal(first.train.images, second.train.images)


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_or_build(tmp_path, Counted().source, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 40) for done in range(5, 45, 5)]


def test_a_given_normalisation_is_kept(tmp_path: Path) -> None:
    given = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    source = replace(Counted().source, normalisation=given)
    for _ in range(2):
        dataset = open_or_build(tmp_path, source)
        assert (dataset.mean, dataset.std) == given


def test_a_flat_channel_can_still_be_normalised(tmp_path: Path) -> None:
    def flat() -> Decoded:
        block = Block(np.full((2, 8, 8, 3), 51, np.uint8), np.arange(2))
        return Decoded(("a", "b"), Stream(2, [block]), Stream(2, [block]))

    dataset = open_or_build(tmp_path, replace(Counted().source, decode=flat))
    assert dataset.mean == pytest.approx((0.2, 0.2, 0.2))
    assert dataset.std == pytest.approx((1 / 255,) * 3)


def test_a_changed_source_is_decoded_again_and_the_old_cache_removed(tmp_path: Path) -> None:
    old, new = Counted("first"), Counted("second state")
    before = open_or_build(tmp_path, old.source)
    after = open_or_build(tmp_path, new.source)
    assert new.decoded == 1
    np.testing.assert_array_equal(after.train.images, new.images("train"))
    np.testing.assert_array_equal(before.train.images, old.images("train"))  # still open elsewhere
    _only(tmp_path)


def test_another_set_of_the_same_name_keeps_its_own_cache(tmp_path: Path) -> None:
    counted = Counted()
    open_or_build(tmp_path, counted.source)
    open_or_build(tmp_path, replace(counted.source, identity="counted elsewhere"))
    open_or_build(tmp_path, counted.source)
    assert counted.decoded == 2


def _change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _overwrite(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "images cut": lambda place: _cut(place / "train" / "images.npy"),
    "images with a tail": lambda place: (place / "test" / "images.npy").write_bytes(
        (place / "test" / "images.npy").read_bytes() + b"\0"
    ),
    "images empty": lambda place: (place / "train" / "images.npy").write_bytes(b""),
    "images with a damaged header": lambda place: _overwrite(place / "train" / "images.npy", 20),
    "labels with a damaged header": lambda place: _overwrite(place / "train" / "labels.npy", 60),
    "images gone": lambda place: (place / "test" / "images.npy").unlink(),
    "images of another type": lambda place: np.save(
        place / "train" / "images.npy", np.zeros((20, 8, 8, 3), np.int8)
    ),
    "images pickled": lambda place: np.save(
        place / "train" / "images.npy", np.array([{}]), allow_pickle=True
    ),
    "fewer labels": lambda place: np.save(place / "train" / "labels.npy", np.zeros(19, np.int64)),
    "labels out of range": lambda place: np.save(
        place / "train" / "labels.npy", np.full(20, 2, np.int64)
    ),
    "masks gone": lambda place: (place / "test" / "masks.npy").unlink(),
    "a split gone": lambda place: shutil.rmtree(place / "test"),
    "meta cut": lambda place: _cut(place / "meta.json") or _cut(place / "meta.json"),
    "meta gone": lambda place: (place / "meta.json").unlink(),
    "meta no object": lambda place: (place / "meta.json").write_text("[]"),
    "meta not text": lambda place: (place / "meta.json").write_bytes(b"\xff\xfe"),
    "meta of another format": lambda place: _change_json(place / "meta.json", format=0),
    "meta of another state": lambda place: _change_json(place / "meta.json", fingerprint="x"),
    "another size": lambda place: _change_json(place / "meta.json", image_size=16),
    "a size that is no number": lambda place: _change_json(place / "meta.json", image_size="8"),
    "no classes": lambda place: _change_json(place / "meta.json", classes=[]),
    "no spread": lambda place: _change_json(place / "meta.json", std=[0.1, 0.0, 0.1]),
    "two channels": lambda place: _change_json(place / "meta.json", mean=[0.1, 0.2]),
    "a count too large": lambda place: _change_json(
        place / "meta.json", counts={"train": 10**30, "test": 20}
    ),
    "one count": lambda place: _change_json(place / "meta.json", counts={"train": 20}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    counted = Counted()
    open_or_build(tmp_path, counted.source)
    damage(_only(tmp_path))
    dataset = open_or_build(tmp_path, counted.source)
    assert counted.decoded == 2
    np.testing.assert_array_equal(dataset.train.images, counted.images("train"))
    open_or_build(tmp_path, counted.source)
    assert counted.decoded == 2


@pytest.mark.parametrize("fail_after", [0, 10])
def test_a_failure_in_the_middle_leaves_the_earlier_cache_and_nothing_else(
    tmp_path: Path, fail_after: int
) -> None:
    earlier = Counted("first")
    open_or_build(tmp_path, earlier.source)
    place = _only(tmp_path)
    with pytest.raises(DataError, match="could not be written: No space left on device"):
        open_or_build(tmp_path, Counted("second state", fail_after).source)
    assert _only(tmp_path) == place
    open_or_build(tmp_path, earlier.source)
    assert earlier.decoded == 1


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_disk_that_refuses_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(cache.os, call, refuse)
        with pytest.raises(DataError, match=r"No space left on device; free some space"):
            open_or_build(tmp_path, Counted().source)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_or_build(tmp_path, Counted().source, interrupt)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_hold_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another --data-root") as caught:
        open_or_build(tmp_path / "file" / "cache", Counted().source)
    assert str(tmp_path / "file") in str(caught.value)


def test_too_little_space_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(DataError, match=r"needs 0.0 GB in .* 0.0 GB free"):
        open_or_build(tmp_path, Counted().source)
    assert not list(tmp_path.iterdir())


def test_two_builders_at_once_end_with_one_sound_cache(tmp_path: Path) -> None:
    """Both are in the middle of writing before either may finish."""
    meeting = threading.Barrier(2, timeout=30)
    pair = [Counted(), Counted()]

    def build(counted: Counted) -> np.ndarray:
        def meet(done: int, total: int) -> None:
            if done == 20:
                meeting.wait()

        return np.array(open_or_build(tmp_path, counted.source, meet).train.images)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(build, pair))
    assert [counted.decoded for counted in pair] == [1, 1]
    for result in results:
        np.testing.assert_array_equal(result, pair[0].images("train"))
    _only(tmp_path)
    open_or_build(tmp_path, pair[0].source)
    assert pair[0].decoded == 1


def test_what_a_killed_build_left_is_removed_after_a_day(tmp_path: Path) -> None:
    stem = cache.cache_stem(Counted().source)
    for name, age in (("old", 25 * 3600), ("young", 3600)):
        left = tmp_path / f".{stem}-0123-{name}"
        (left / "train").mkdir(parents=True)
        (left / "train" / "images.npy").write_bytes(b"")
        for path in (left / "train" / "images.npy", left / "train", left):
            changed = path.stat().st_mtime - age
            os.utime(path, (changed, changed))
    open_or_build(tmp_path, Counted().source)
    assert sorted(path.name for path in tmp_path.glob(".*")) == [f".{stem}-0123-young"]


@pytest.mark.parametrize(
    "change", ["content", "content of the same age", "new file", "removed file", "renamed class"]
)
def test_a_changed_folder_is_noticed(tmp_path: Path, make_images: MakeFolder, change: str) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    before = load_dataset(str(folder), tmp_path / "data")
    first = folder / "a" / "000.png"
    if change == "content":
        other = (folder / "b" / "001.png").read_bytes()
        first.write_bytes(other)
    elif change == "content of the same age":
        status = first.stat()
        Image.new("RGB", (32, 32)).save(first)
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "new file":
        shutil.copy(first, folder / "b" / "new.png")
    elif change == "removed file":
        first.unlink()
    else:
        (folder / "b").rename(folder / "c")
    after = load_dataset(str(folder), tmp_path / "data")
    assert (len(before.train.labels), before.classes, before.train.images.tobytes()) != (
        len(after.train.labels),
        after.classes,
        after.train.images.tobytes(),
    ) or before.test.images.tobytes() != after.test.images.tobytes()
    _only(tmp_path / "data" / "cache")


def test_an_unchanged_folder_is_not_decoded_again(
    tmp_path: Path, make_images: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_images(tmp_path / "set", ("a", "b"), 5)
    load_dataset(str(folder), tmp_path / "data")
    monkeypatch.setattr("sdedge.data.folder.decode_file", lambda *_: pytest.fail("decoded again"))
    load_dataset(str(folder), tmp_path / "data")
