"""What a phase saw is kept, and no later one tests on it unknowingly."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sdedge.data.dataset import Contents, Dataset
from sdedge.data.provenance import (
    ImageRecord,
    check_unseen,
    keep_record,
    read_images,
    searched_on,
)
from sdedge.errors import DataError, RunError


@pytest.fixture
def trained(tiny_dataset: Dataset) -> Dataset:
    return _now(tiny_dataset, ["t1", "t2", "t3"], ["e1", "e2"])


def _now(dataset: Dataset, train: Sequence[str], test: Sequence[str]) -> Dataset:
    """The data set with other images."""
    contents = Contents(tuple(train), tuple(test))
    return replace(dataset, contents=contents, fingerprint=repr(contents))


def test_the_same_images_need_no_word(trained: Dataset) -> None:
    assert check_unseen(ImageRecord.of(trained), trained) == ()


def test_images_that_came_or_went_are_told(trained: Dataset) -> None:
    record = ImageRecord.of(trained)
    more = _now(trained, ["t1", "t2", "t3", "t4"], ["e1", "e2", "e3"])
    (note,) = check_unseen(record, more)
    assert "(2 images more, 0 fewer); none of its test images was trained on" in note
    (note,) = check_unseen(record, _now(trained, ["t1"], ["e1", "e2"]))
    assert "(0 images more, 2 fewer)" in note


def test_training_images_among_the_test_images_are_refused(trained: Dataset) -> None:
    redrawn = _now(trained, ["t1", "e1"], ["e2", "t2", "t3", "new"])
    with pytest.raises(DataError, match="2 of the 4 test images of tiny were trained on"):
        check_unseen(ImageRecord.of(trained), redrawn)


def test_new_test_images_in_place_of_training_images_are_refused(trained: Dataset) -> None:
    """They may be the same ones, stored in another format."""
    stored_anew = _now(trained, ["t1", "x2"], ["e1", "x3"])
    with pytest.raises(DataError, match="2 training images are gone and 1 test images are new"):
        check_unseen(ImageRecord.of(trained), stored_anew)


def test_another_named_set_is_refused(tiny_dataset: Dataset) -> None:
    record = ImageRecord.of(tiny_dataset)
    assert check_unseen(record, tiny_dataset) == ()
    with pytest.raises(DataError, match="tiny is not the data set of the training"):
        check_unseen(record, replace(tiny_dataset, fingerprint="other"))


def test_a_run_without_a_record_says_that_nobody_knows(trained: Dataset, tmp_path: Path) -> None:
    (note,) = check_unseen(read_images(tmp_path / "train.images.json"), trained)
    assert "does not say which images it was trained on" in note


def test_test_images_that_a_search_saw_are_told(trained: Dataset) -> None:
    record = ImageRecord.of(trained)
    assert searched_on(record, trained) == ()
    (note,) = searched_on(record, _now(trained, ["e1"], ["t1", "e2"]))
    assert note.startswith("1 of the 2 test images took part in the search")


def test_a_phase_goes_on_with_the_same_images_alone(trained: Dataset, tmp_path: Path) -> None:
    path, record = tmp_path / "run" / "train.images.json", ImageRecord.of(trained)
    keep = partial(keep_record, path, checkpoint=tmp_path / "run" / "none")
    keep(record, resume=False)
    assert read_images(path) == record
    keep(record, resume=True)
    other = replace(record, fingerprint="other")
    with pytest.raises(RunError, match="was started with other images"):
        keep(other, resume=True)
    keep(other, resume=False)  # a new start
    assert read_images(path) == other


def test_a_refused_resume_does_not_make_up_a_record(trained: Dataset, tmp_path: Path) -> None:
    """As evidence it would make an export of that run say that no test image was trained on."""
    path, checkpoint = tmp_path / "train.images.json", tmp_path / "train.checkpoint.safetensors"
    record = ImageRecord.of(trained)
    checkpoint.touch()
    with pytest.raises(RunError, match=r"has no train\.images\.json.* exported and measured"):
        keep_record(path, record, checkpoint=checkpoint, resume=True)
    assert not path.exists()
    checkpoint.unlink()  # killed before the first one: the same start again
    keep_record(path, record, checkpoint=checkpoint, resume=True)
    assert read_images(path) == record


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.images.json"
    path.write_text(json.dumps({"fingerprint": 1}))
    with pytest.raises(RunError, match=r"train\.images\.json: fingerprint is 1; it must be text"):
        read_images(path)
