"""Batches: the order follows from the seed, from memory and from disk alike, from any step."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sdedge.data.dataset import Split
from sdedge.data.pipeline import Batches
from sdedge.errors import ConfigError, DataError

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
COUNT = 50


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """A memory-mapped split in which the first pixel of an image tells its index."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNT)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    return Split(mapped, np.arange(COUNT, dtype=np.int64) * 3)


def _identities(batches: list[tuple[Tensor, Tensor]]) -> list[int]:
    return [int(index) for images, _ in batches for index in images[:, 0, 0, 0]]


def _equal(ours: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b)
        for batch, other in zip(ours, theirs, strict=True)
        for a, b in zip(batch, other, strict=True)
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resident_bytes", [None, 0])
def test_a_batch_is_what_the_split_holds(
    split: Split, device: str, resident_bytes: int | None
) -> None:
    batches = Batches(split, None, 8, torch.device(device), resident_bytes=resident_bytes)
    assert batches.resident == (resident_bytes is None)
    seen = list(batches.epoch(0))
    assert len(seen) == batches.steps == 6
    for images, labels in seen:
        assert images.shape == (8, 4, 4, 3)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert images.device.type == labels.device.type == device
        at = _identities([(images, labels)])
        np.testing.assert_array_equal(images.cpu().numpy(), split.images[at])
        np.testing.assert_array_equal(labels.cpu().numpy(), split.labels[at])
    assert len(set(_identities(seen))) == 48  # none twice


@pytest.mark.parametrize("device", DEVICES)
def test_streaming_equals_resident_bit_for_bit(split: Split, device: str) -> None:
    indices = np.arange(COUNT)[::2]
    resident, streamed = (
        Batches(split, indices, 4, torch.device(device), resident_bytes=budget)
        for budget in (2**20, 0)
    )
    assert (resident.resident, streamed.resident) == (True, False)
    assert _equal(list(resident.epoch(5)), list(streamed.epoch(5)))
    assert _equal(list(resident.epoch(5, 2, 3)), list(streamed.epoch(5, 2, 3)))
    assert _equal(list(resident.ordered()), list(streamed.ordered()))


@pytest.mark.parametrize("resident_bytes", [None, 0])
@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_a_start_in_the_middle_is_the_tail_of_the_epoch(
    split: Split, start: int, resident_bytes: int | None
) -> None:
    batches = Batches(split, None, 8, CPU, resident_bytes=resident_bytes)
    whole = list(batches.epoch(3))
    assert _equal(list(batches.epoch(3, start)), whole[start:])


def test_steps_end_an_epoch_early(split: Split) -> None:
    batches = Batches(split, None, 8, CPU)
    assert _equal(list(batches.epoch(3, 1, 2)), list(batches.epoch(3))[1:3])


def test_the_seed_alone_decides_the_order(split: Split) -> None:
    batches = Batches(split, None, 8, CPU)
    torch.manual_seed(0)
    first = _identities(list(batches.epoch(1)))
    torch.manual_seed(1)
    np.random.default_rng(1)
    assert _identities(list(batches.epoch(1))) == first
    assert _identities(list(batches.epoch(2))) != first
    assert _identities(list(batches.epoch(2**63 - 1))) != first


def test_the_default_generator_is_left_alone(split: Split) -> None:
    before = torch.get_rng_state()
    list(Batches(split, None, 8, CPU).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_indices_choose_the_images(split: Split) -> None:
    chosen = np.array([40, 3, 17, 8])
    batches = Batches(split, chosen, 2, CPU)
    assert len(batches) == 4
    assert _identities(list(batches.ordered())) == chosen.tolist()
    assert sorted(_identities(list(batches.epoch(0)))) == sorted(chosen)


@pytest.mark.parametrize("resident_bytes", [None, 0])
def test_ordered_gives_every_image_once(split: Split, resident_bytes: int | None) -> None:
    seen = list(Batches(split, None, 8, CPU, resident_bytes=resident_bytes).ordered())
    assert [len(labels) for _, labels in seen] == [8] * 6 + [2]
    assert _identities(seen) == list(range(COUNT))


def test_the_budget_counts_the_images_chosen(split: Split) -> None:
    image = 4 * 4 * 3
    assert Batches(split, np.arange(10), 2, CPU, resident_bytes=10 * image).resident
    assert not Batches(split, np.arange(11), 2, CPU, resident_bytes=10 * image).resident


def test_a_later_write_to_a_batch_does_not_reach_the_next_epoch(split: Split) -> None:
    batches = Batches(split, None, 8, CPU)
    before = [(images.clone(), labels.clone()) for images, labels in batches.epoch(0)]
    for images, _ in batches.epoch(0):
        images.zero_()
    assert _equal(list(batches.epoch(0)), before)


def _readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("sdedge-batches")]


def test_closing_early_ends_the_reader(split: Split) -> None:
    iterator = Batches(split, None, 2, CPU, resident_bytes=0).epoch(0)
    next(iterator)
    assert _readers()
    iterator.close()
    assert not _readers()


def test_the_reader_ends_with_the_epoch(split: Split) -> None:
    list(Batches(split, None, 2, CPU, resident_bytes=0).epoch(0))
    assert not _readers()


def test_a_read_that_fails_is_heard_of(split: Split) -> None:
    class Torn(np.ndarray):
        def __getitem__(self, key: object) -> np.ndarray:
            if isinstance(key, np.ndarray) and 7 in key:
                raise OSError("Input/output error")
            return np.asarray(super().__getitem__(key))

    torn = Split(np.asarray(split.images).view(Torn), split.labels)
    iterator = Batches(torn, None, 4, CPU, resident_bytes=0).ordered()
    next(iterator)
    with pytest.raises(OSError, match="Input/output error"):
        list(iterator)
    assert not _readers()


def test_fewer_images_than_a_batch(split: Split) -> None:
    batches = Batches(split, np.arange(5), 8, CPU)
    for ask in (lambda: batches.steps, lambda: batches.epoch(0)):
        with pytest.raises(DataError, match="5 images are fewer than a batch of 8"):
            ask()
    assert len(list(batches.ordered())) == 1


@pytest.mark.parametrize(("start", "steps"), [(-1, None), (7, None), (4, 3), (0, 7), (2, -1)])
def test_steps_out_of_range(split: Split, start: int, steps: int | None) -> None:
    with pytest.raises(ConfigError, match="not within an epoch of 6"):
        Batches(split, None, 8, CPU).epoch(0, start, steps)


def test_settings_out_of_range(split: Split) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Batches(split, None, 0, CPU)
    with pytest.raises(ConfigError, match=r"indices go from 1 to 50; there are 50 images"):
        Batches(split, np.array([1, 50]), 1, CPU)
    with pytest.raises(ConfigError, match="indices go from -1"):
        Batches(split, np.array([-1]), 1, CPU)
    with pytest.raises(DataError, match="none of 50 images"):
        Batches(split, np.array([], np.int64), 1, CPU)
