"""Which images a phase saw, kept in its run: a later phase must not test on them unknowingly."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdedge.data.dataset import Contents, Dataset
from sdedge.errors import DataError, RunError
from sdedge.escape import printable
from sdedge.files import write_json
from sdedge.schema import read_record

__all__ = ["ImageRecord", "check_unseen", "keep_record", "read_images", "searched_on"]


@dataclass(frozen=True)
class ImageRecord:
    """The images of a data set when a phase started: see `Dataset`."""

    fingerprint: str
    image_size: int
    contents: Contents | None

    @classmethod
    def of(cls, dataset: Dataset) -> "ImageRecord":
        """The record of a data set."""
        return cls(dataset.fingerprint, dataset.image_size, dataset.contents)

    def to_dict(self) -> Mapping[str, Any]:
        """The JSON form."""
        return asdict(self)


def read_images(path: Path) -> ImageRecord | None:
    """The record at `path`; None where there is none. RunError for a damaged one."""
    return read_record(path, ImageRecord) if path.exists() else None


def keep_record(path: Path, record: ImageRecord, *, checkpoint: Path, resume: bool) -> None:
    """Write the record of a phase that starts.

    Raises RunError where one that resumes has other images, or has a `checkpoint` and no record:
    today's images are no evidence of those it was trained on.
    """
    kept = read_images(path) if resume else None
    if kept is None:
        if resume and checkpoint.exists():
            raise RunError(
                f"{printable(str(path.parent))} has no {path.name}, which says what images "
                f"{checkpoint.name} was made with (earlier versions did not write it), so it "
                "cannot resume; start a new run. What it has finished can be exported and measured."
            )
        write_json(path, record.to_dict())
    elif kept.fingerprint != record.fingerprint:
        raise RunError(
            f"{printable(str(path.parent))} was started with other images than the data set holds "
            "now; put them back (moved ones: --dataset FOLDER), or start a new run"
        )


def searched_on(record: ImageRecord, dataset: Dataset) -> tuple[str, ...]:
    """A warning about test images of `dataset` that took part in the search of `record`."""
    if record.contents is None or dataset.contents is None:
        return ()
    seen = set(record.contents.train)
    count = sum(digest in seen for digest in dataset.contents.test)
    if not count:
        return ()
    return (
        f"{count:,} of the {len(dataset.contents.test):,} test images took part in the search, "
        "since the data set or its split has changed",
    )


def check_unseen(record: ImageRecord | None, dataset: Dataset) -> tuple[str, ...]:
    """Warnings about testing on `dataset` a network that was trained on the images of `record`.

    There are none where the images are the same. Raises DataError where a test image was trained
    on, or may have been: training images are gone, and test images are new.
    """
    if record is None:
        return (
            "this run does not say which images it was trained on, so some of the test images may "
            "be among them",
        )
    if record.fingerprint == dataset.fingerprint:
        return ()
    way_out = "put the images back as they were, or name the folder they are in with --dataset"
    if record.contents is None or dataset.contents is None:
        raise DataError(f"{dataset.name} is not the data set of the training; {way_out}")
    trained, now = set(record.contents.train), dataset.contents
    leaked = sum(digest in trained for digest in now.test)
    if leaked:
        raise DataError(
            f"{leaked:,} of the {len(now.test):,} test images of {dataset.name} were trained on: "
            f"the data set or its split has changed since; {way_out}"
        )
    before, present = trained | {*record.contents.test}, {*now.train, *now.test}
    gone, added = len(before - present), len(present - before)
    unknown = len(set(now.test) - before)
    if trained - present and unknown:
        raise DataError(
            f"{dataset.name} has changed since the training: {len(trained - present):,} training "
            f"images are gone and {unknown:,} test images are new, which may be the same ones in "
            f"another form; {way_out}"
        )
    return (
        f"{dataset.name} has changed since the training ({added:,} images more, {gone:,} fewer); "
        "none of its test images was trained on",
    )
