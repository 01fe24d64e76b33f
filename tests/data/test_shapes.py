"""The drawn data set: the same from the same seed, and a label that the pixels bear out."""

from pathlib import Path

import numpy as np
import pytest

from sdedge.data import shapes
from sdedge.data.catalog import load_dataset
from sdedge.data.shapes import CLASSES, draw, shapes_source

DRAWN = 300


@pytest.mark.parametrize("size", [16, 32, 50])
def test_the_label_covers_twice_as_much_as_all_else(size: int) -> None:
    for index in range(DRAWN):
        drawing = draw(0, "train", index, size)
        areas = np.bincount(drawing.owner[drawing.owner >= 0], minlength=len(CLASSES))
        target = areas[drawing.label]
        assert drawing.label == index % len(CLASSES)
        assert target >= 2 * (areas.sum() - target)
        assert target >= 0.015 * size**2


def test_images_follow_from_seed_split_and_index() -> None:
    first = draw(0, "train", 7, 32)
    np.testing.assert_array_equal(first.image, draw(0, "train", 7, 32).image)
    for other in (draw(1, "train", 7, 32), draw(0, "test", 7, 32), draw(0, "train", 17, 32)):
        assert np.abs(first.image.astype(int) - other.image).mean() > 5


def test_an_image_keeps_its_place_at_another_size() -> None:
    """Larger images show the same scene, so a size can be chosen after the fact."""
    small, large = draw(0, "train", 3, 32), draw(0, "train", 3, 64)
    small_mask = small.owner == small.label
    large_mask = (large.owner == large.label).reshape(32, 2, 32, 2).mean((1, 3)) > 0.5
    overlap = np.count_nonzero(small_mask & large_mask) / np.count_nonzero(small_mask | large_mask)
    assert overlap > 0.85


def test_the_object_stands_out_from_the_ground() -> None:
    """Colour inside the mask differs from that outside it in nearly every image."""
    distances = []
    for index in range(DRAWN):
        drawing = draw(0, "train", index, 32)
        mask = drawing.owner == drawing.label
        inside, outside = drawing.image[mask], drawing.image[drawing.owner < 0]
        distances.append(np.linalg.norm(inside.mean(0) - outside.mean(0)))
    assert np.quantile(distances, 0.05) > 25


def test_scenes_vary() -> None:
    drawings = [draw(0, "train", index, 32) for index in range(DRAWN)]
    kinds = [len(np.unique(drawing.owner[drawing.owner >= 0])) for drawing in drawings]
    assert 0.25 < np.mean(np.array(kinds) > 1) < 0.9  # with and without other shapes
    areas = [np.mean(drawing.owner == drawing.label) for drawing in drawings]
    assert np.quantile(areas, 0.9) > 3 * np.quantile(areas, 0.1)
    centres = [np.argwhere(drawing.owner == drawing.label).mean(0) / 32 for drawing in drawings]
    assert (np.std(centres, axis=0) > 0.12).all()


def _outline(name: str, size: int = 101) -> np.ndarray:
    steps = np.linspace(-1.2, 1.2, size)
    x, y = np.broadcast_to(steps, (size, size)), np.broadcast_to(steps[:, None], (size, size))
    return shapes._OUTLINES[name](x, y) < 0


def test_outlines_are_distinct_and_of_the_expected_area() -> None:
    cell = (2.4 / 100) ** 2
    areas = {name: np.count_nonzero(_outline(name)) * cell for name in CLASSES}
    assert areas["disk"] == pytest.approx(np.pi * 0.81, rel=0.02)
    assert areas["square"] == pytest.approx(2.56, rel=0.03)
    assert areas["ring"] == pytest.approx(np.pi * (0.97**2 - 0.47**2), rel=0.02)
    assert areas["bar"] == pytest.approx(1.2, rel=0.03)
    assert areas["triangle"] == pytest.approx(0.75 * np.sqrt(3), rel=0.03)
    for name in CLASSES:
        for other in CLASSES:
            if name < other:
                assert np.mean(_outline(name) ^ _outline(other)) > 0.05


def test_the_star_has_five_tips() -> None:
    """Walking round at a radius between notch and tip crosses the outline ten times."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    x, y = 0.7 * np.cos(angles)[None], 0.7 * np.sin(angles)[None]
    inside = shapes._star(x, y)[0] < 0
    assert np.count_nonzero(inside != np.roll(inside, 1)) == 10
    assert inside[0]  # the first tip points along x


def test_loaded_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "IMAGES", {"train": 60, "test": 30})
    dataset = load_dataset("shapes", tmp_path, image_size=24, seed=5)
    assert dataset.classes == CLASSES
    assert dataset.image_size == 24
    assert np.bincount(dataset.train.labels).tolist() == [6] * 10
    for index in (0, 31, 59):
        drawing = draw(5, "train", index, 24)
        np.testing.assert_array_equal(dataset.train.images[index], drawing.image)
        assert dataset.masks is not None
        np.testing.assert_array_equal(dataset.masks.train[index], drawing.owner == drawing.label)
    assert len(dataset.test.labels) == 30


def test_seed_and_size_have_caches_of_their_own() -> None:
    identities = {shapes_source(size, seed).identity for size in (None, 32, 48) for seed in (0, 1)}
    assert len(identities) == 4
