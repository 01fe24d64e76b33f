"""Rotation, colorization and jigsaw: what is shown, what is asked, and what the loss is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.data.dataset import Dataset
from sdedge.errors import ConfigError
from sdedge.events import Reporter
from sdedge.loop import run_phase
from sdedge.nas.phase import SearchPhase
from sdedge.nas.tasks import build_task
from sdedge.nas.tasks.colorization import CENTRES, ColorizationTask, lab
from sdedge.nas.tasks.jigsaw import PERMUTATIONS, JigsawTask
from sdedge.nas.tasks.rotation import RotationTask
from sdedge.nas.tasks.task import TaskBatch, harmonise
from sdedge.run import RunDir
from sdedge.space.darts.supernet import Supernet
from sdedge.space.supernet import SupernetOutput

SIZE, CHANNELS, CLASSES, COUNT = 32, 8, 5, 6
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.2, 0.3)
ALONE = ("rotation", "colorization", "jigsaw")
JOINT = ("joint-rotation", "joint-colorization", "joint-jigsaw")
VIEWS = {"rotation": 4, "colorization": 1, "jigsaw": 4}


def task(name: str, image_size: int = SIZE) -> Any:
    torch.manual_seed(0)
    return build_task(
        SearchConfig(task=name),
        feature_channels=CHANNELS,
        image_size=image_size,
        value_range=(-2.0, 2.0),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
    )


def views(name: str) -> int:
    return VIEWS[name.removeprefix("joint-")]


def normalised(rgb: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (rgb - mean) / std


def rgb_images(size: int = SIZE) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(COUNT, 3, size, size)


def images_and_labels(size: int = SIZE) -> tuple[Tensor, Tensor]:
    return normalised(rgb_images(size)), torch.arange(COUNT) % CLASSES


def output_for(batch: TaskBatch) -> SupernetOutput:
    """Stands for the supernet's output: one row a view, features of a quarter of its size."""
    torch.manual_seed(2)
    n, size = len(batch.inputs), -(-batch.inputs.shape[-1] // 4)
    return SupernetOutput(
        torch.randn(n, CLASSES, requires_grad=True),
        torch.randn(n, CHANNELS, size, size, requires_grad=True),
    )


# What holds for all of them


@pytest.mark.parametrize("name", ALONE + JOINT)
def test_the_loss_of_a_prepared_batch_is_the_same_at_every_call(name: str) -> None:
    proxy = task(name)
    batch = proxy.prepare(*images_and_labels())
    output = output_for(batch)
    assert torch.equal(proxy.loss(output, batch).total, proxy.loss(output, batch).total)


@pytest.mark.parametrize("name", ALONE + JOINT)
def test_a_batch_keeps_its_images_and_shows_views_of_them_as_every_batch_lies(name: str) -> None:
    images, labels = images_and_labels()
    batch = task(name).prepare(images, labels)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.labels, labels)
    assert batch.inputs.shape[:2] == (views(name) * COUNT, 3)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.inputs.dtype == images.dtype


@pytest.mark.parametrize("name", ALONE)
def test_a_proxy_alone_descends_its_own_cross_entropy(name: str) -> None:
    proxy = task(name)
    batch = proxy.prepare(*images_and_labels())
    output = output_for(batch)
    loss = proxy.loss(output, batch)
    assert set(loss.parts) == {"loss", "proxy_cross_entropy", "proxy_accuracy"}
    assert torch.equal(loss.parts["proxy_cross_entropy"], loss.total)
    assert not proxy.harmonised
    loss.total.backward()
    assert output.logits.grad is None


@pytest.mark.parametrize("name", JOINT)
def test_a_joint_loss_is_the_class_harmonised_with_the_proxy(name: str) -> None:
    proxy = task(name)
    batch = proxy.prepare(*images_and_labels())
    output = output_for(batch)
    parameters = [output.features, *proxy.head.parameters()]
    parts = proxy.loss(output, batch).parts
    gradient = torch.autograd.grad(proxy.loss(output, batch).total, parameters)

    answer = F.cross_entropy(proxy.answer(output.features), batch.target.flatten())
    scores = output.logits
    if views(name) > 1:  # the features of all views side by side, and one label an image
        pooled = [view.mean(dim=(1, 2)) for view in output.features]
        rows = [torch.cat(pooled[first : first + 4]) for first in range(0, 4 * COUNT, 4)]
        scores = proxy.classifier(torch.stack(rows))
    classification = F.cross_entropy(scores, batch.labels)
    expected = torch.autograd.grad(harmonise(classification, answer), parameters)

    assert proxy.harmonised
    assert torch.equal(parts["loss"], 2 * parts["cross_entropy"])
    torch.testing.assert_close(parts["cross_entropy"], classification.detach())
    torch.testing.assert_close(parts["proxy_cross_entropy"], answer.detach())
    torch.testing.assert_close(gradient, expected)
    hits = (scores.argmax(dim=1) == batch.labels).double()
    assert float(parts["accuracy"]) == pytest.approx(float(hits.mean()))


@pytest.mark.parametrize("name", ALONE + JOINT)
def test_gradients_reach_the_trunk_and_every_head(name: str) -> None:
    torch.manual_seed(0)
    supernet = Supernet(channels=2, cells=3, classes=CLASSES, impl="reference")
    assert supernet.feature_channels == 2 * 4 * 4
    proxy = build_task(
        SearchConfig(task=name),
        feature_channels=supernet.feature_channels,
        image_size=16,
        value_range=(-2.0, 2.0),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
    )
    batch = proxy.prepare(*images_and_labels(16))
    weights = {kind: torch.full((14, 8), 1 / 8) for kind in ("normal", "reduce")}
    proxy.loss(supernet(batch.inputs, weights), batch).total.backward()  # type: ignore[no-untyped-call]
    learning = [*proxy.parameters(), *supernet.stem.parameters(), *supernet.cells[0].parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning)
    reads_the_class = name == "joint-colorization"
    assert (supernet.classifier.weight.grad is not None) is reads_the_class


@pytest.mark.parametrize("name", ALONE + JOINT)
def test_the_proxy_accuracy_is_the_share_of_right_answers(name: str) -> None:
    proxy = task(name)
    batch = proxy.prepare(*images_and_labels())
    rows = batch.target.numel()
    right = F.one_hot(batch.target.flatten(), 400).float()
    right[: rows // 4, 399] = 2.0  # a quarter is answered wrongly
    proxy.answer = lambda features: right
    parts = proxy.loss(output_for(batch), batch).parts
    assert float(parts["proxy_accuracy"]) == pytest.approx(1 - (rows // 4) / rows)


@pytest.mark.parametrize("name", ALONE + JOINT)
def test_only_rotation_pads_before_it_crops(name: str) -> None:
    padding = 4 if "rotation" in name else 0
    assert task(name).augmentation == Augmentation(crop_padding=padding, flip=True)


@pytest.mark.parametrize("name", ALONE + JOINT)
@pytest.mark.parametrize("size", [8, 18, 30])
def test_other_sizes_work_where_they_can(name: str, size: int) -> None:
    proxy = task(name, size)
    batch = proxy.prepare(*images_and_labels(size))
    assert torch.isfinite(proxy.loss(output_for(batch), batch).total)


@pytest.mark.parametrize("name", ["jigsaw", "joint-jigsaw"])
def test_jigsaw_refuses_images_that_it_cannot_halve(name: str) -> None:
    with pytest.raises(ConfigError, match=r"image_size is 33; .* --image-size 32"):
        task(name, 33)


@pytest.mark.parametrize("name", ["rotation", "colorization"])
def test_the_others_take_odd_images(name: str) -> None:
    proxy = task(name, 19)
    batch = proxy.prepare(*images_and_labels(19))
    assert torch.isfinite(proxy.loss(output_for(batch), batch).total)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE + JOINT)
def test_a_search_steps_and_logs(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path: Path, name: str
) -> None:
    config = SearchConfig(
        task=name,
        device="cpu",
        channels=2,
        cells=3,
        epochs=1,
        batch_size=2,
        epoch_images=2,
        valid_images=2,
    )
    phase, run = SearchPhase(config, tiny_dataset), RunDir.create("search", tmp_path)
    before = {key: value.clone() for key, value in phase.state().items()}
    run_phase(phase, run, reporter, resume=False, checkpoint_seconds=1e9)
    (record,) = run.read_metrics("search")
    joint = name in JOINT
    for half in ("train", "valid"):
        assert record[f"{half}_loss"] > 0
        assert 0 <= record[f"{half}_proxy_accuracy"] <= 1
        assert (f"{half}_accuracy" in record) is joint
        assert (f"{half}_cross_entropy" in record) is joint
    after = phase.state()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"task/head.weight", "alpha/normal", "alpha/reduce"} <= moved


@pytest.mark.parametrize("name", ["joint-jigsaw", "colorization"])
def test_a_search_tells_the_task_what_its_images_are(tiny_dataset: Dataset, name: str) -> None:
    config = SearchConfig(task=name, device="cpu", channels=2, cells=3, batch_size=2)
    proxy = SearchPhase(config, tiny_dataset).bilevel.task
    assert isinstance(proxy, ColorizationTask | JigsawTask)
    for given, expected in zip(
        (proxy.normalisation.mean, proxy.normalisation.std),
        (tiny_dataset.mean, tiny_dataset.std),
        strict=True,
    ):
        assert given.flatten().tolist() == pytest.approx(expected)
    if proxy.classifier is not None:
        assert proxy.classifier.out_features == len(tiny_dataset.classes)


# Rotation


def test_each_image_is_shown_in_four_rotations_in_a_row() -> None:
    images, labels = images_and_labels()
    batch = task("rotation").prepare(images, labels)
    assert batch.target.tolist() == [0, 1, 2, 3] * COUNT
    for view, turns, image in zip(
        batch.inputs, batch.target, images.repeat_interleave(4, dim=0), strict=True
    ):
        assert torch.equal(view.rot90(-int(turns), (1, 2)), image)


def test_a_quarter_turn_is_to_the_left() -> None:
    """What is at the right edge comes to the upper one."""
    images = torch.zeros(1, 3, SIZE, SIZE)
    images[..., -1] = 1
    batch = task("rotation").prepare(images, torch.zeros(1, dtype=torch.long))
    edges = [
        view[:, 0].min() + view[:, -1].min() * 2 + view[:, :, 0].min() * 4 for view in batch.inputs
    ]
    assert [int(edge) for edge in edges] == [0, 1, 4, 2]


def test_rotations_are_told_apart_one_by_one() -> None:
    proxy = task("rotation")
    assert isinstance(proxy, RotationTask)
    batch = proxy.prepare(*images_and_labels())
    features = output_for(batch).features
    weight, bias = proxy.head.parameters()
    assert weight.shape == (4, CHANNELS)
    expected = features.mean(dim=(2, 3)) @ weight.T + bias
    torch.testing.assert_close(proxy.answer(features), expected)
    rows = torch.arange(4 * COUNT)
    hand = (expected.logsumexp(dim=1) - expected[rows, rows % 4]).mean()
    loss = proxy.loss(output_for(batch), batch).total
    torch.testing.assert_close(loss, hand)


# Jigsaw


def test_all_permutations_are_there_in_lexicographic_order() -> None:
    assert len(set(PERMUTATIONS)) == 24
    assert all(sorted(permutation) == [0, 1, 2, 3] for permutation in PERMUTATIONS)
    assert list(PERMUTATIONS) == sorted(PERMUTATIONS)
    assert PERMUTATIONS[1] == (0, 1, 3, 2)


def marked_images(count: int) -> Tensor:
    """A pixel's red is its row, its green its column, its blue the image; a tile tells its place.

    The three run so far apart that normalising a tile does not mix them up.
    """
    images = torch.zeros(count, 3, SIZE, SIZE)
    images[:, 0] = torch.arange(SIZE)[:, None]
    images[:, 1] = torch.arange(SIZE)
    return images


def unspoilt(monkeypatch: pytest.MonkeyPatch, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles (count, 4, 3, 12, 12) before they are normalised, by slot; their labels, corners."""
    monkeypatch.setattr("sdedge.nas.tasks.jigsaw._normalised", lambda tiles: tiles)
    proxy = task("jigsaw").eval()
    batch = proxy.prepare(marked_images(count), torch.zeros(count, dtype=torch.long))
    tiles = batch.inputs.view(count, 4, 3, 12, 12)
    return tiles, batch.target, tiles[:, :, :2, 0, 0].long()


def test_tile_k_is_in_slot_permutation_k(monkeypatch: pytest.MonkeyPatch) -> None:
    _, target, corners = unspoilt(monkeypatch, 200)
    assert set(target.tolist()) == set(range(24))
    for label, corner in zip(target.tolist(), corners, strict=True):
        for k, slot in enumerate(PERMUTATIONS[label]):
            row, column = (corner[slot] // 16).tolist()
            assert 2 * row + column == k


def test_the_label_undoes_the_shuffling(monkeypatch: pytest.MonkeyPatch) -> None:
    _, target, corners = unspoilt(monkeypatch, 50)
    order = torch.tensor(PERMUTATIONS)[target]
    patches = corners.gather(1, order[:, :, None].expand(-1, -1, 2)) // 16
    expected = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert torch.equal(patches, expected.expand(50, -1, -1))


def test_tiles_are_whole_squares_at_any_place_in_their_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiles, _, corners = unspoilt(monkeypatch, 200)
    side = torch.arange(12)
    assert torch.equal(
        tiles[:, :, 0].long(), (corners[..., 0, None] + side)[..., None].expand(-1, -1, -1, 12)
    )
    assert torch.equal(
        tiles[:, :, 1].long(), (corners[..., 1, None] + side)[..., None, :].expand(-1, -1, 12, -1)
    )
    within = corners % 16
    for axis in range(2):
        assert set(within[..., axis].flatten().tolist()) == {0, 1, 2, 3, 4}
    places = {tuple(place) for place in within.flatten(0, 1).tolist()}
    assert len(places) == 25
    assert (within[:, 0] != within[:, 1]).any()  # each tile has a place of its own


@pytest.mark.parametrize(("size", "tile"), [(32, 12), (16, 6), (8, 3), (112, 42), (170, 64)])
def test_tiles_scale_with_the_image(size: int, tile: int) -> None:
    assert task("jigsaw", size).tile_size == tile


def test_every_tile_is_normalised_by_itself() -> None:
    images, labels = images_and_labels()
    images = images * torch.linspace(0.1, 3, COUNT).view(-1, 1, 1, 1) + 1
    tiles = task("jigsaw").eval().prepare(images, labels).inputs.flatten(1)
    torch.testing.assert_close(tiles.mean(dim=1), torch.zeros(4 * COUNT), atol=1e-5, rtol=0)
    torch.testing.assert_close(tiles.std(dim=1, correction=0), torch.ones(4 * COUNT))


def test_a_flat_tile_is_zero() -> None:
    images = torch.full((2, 3, SIZE, SIZE), 0.7)
    inputs = task("jigsaw").eval().prepare(images, torch.zeros(2, dtype=torch.long)).inputs
    assert float(inputs.abs().max()) < 0.1


def test_three_images_in_ten_are_grey_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdedge.nas.tasks.jigsaw._normalised", lambda tiles: tiles)
    torch.manual_seed(1)
    rgb = torch.rand(600, 3, 8, 8)
    proxy, labels = task("jigsaw", 8), torch.zeros(600, dtype=torch.long)

    def grey(training: bool) -> Tensor:
        proxy.train(training)
        inputs = proxy.prepare(normalised(rgb), labels).inputs
        shown = proxy.normalisation.undo(inputs).view(600, 4, 3, 3, 3)
        return (shown - shown[:, :, :1]).abs().amax(dim=(1, 2, 3, 4)) < 1e-5

    assert float(grey(training=True).float().mean()) == pytest.approx(0.3, abs=0.06)
    assert not grey(training=False).any()


def test_grey_is_the_luminance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdedge.nas.tasks.jigsaw._normalised", lambda tiles: tiles)
    monkeypatch.setattr("sdedge.nas.tasks.jigsaw._GREY_PROBABILITY", 1.0)
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    inputs = task("jigsaw").prepare(normalised(green), torch.zeros(1, dtype=torch.long)).inputs
    expected = normalised(torch.full((4, 3, 12, 12), 0.7154))
    torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=0)


def test_each_preparation_shuffles_anew_and_follows_the_seed() -> None:
    proxy = task("jigsaw")

    def drawn(seed: int) -> TaskBatch:
        images, labels = images_and_labels()
        torch.manual_seed(seed)
        batch: TaskBatch = proxy.prepare(images, labels)
        return batch

    assert torch.equal(drawn(0).inputs, drawn(0).inputs)
    assert not torch.equal(drawn(0).target, drawn(1).target)


def test_the_permutation_is_read_from_the_slots_side_by_side() -> None:
    proxy = task("jigsaw")
    batch = proxy.prepare(*images_and_labels())
    features = output_for(batch).features
    weight, bias = proxy.head.parameters()
    assert weight.shape == (24, 4 * CHANNELS)
    slots = features.mean(dim=(2, 3)).view(COUNT, 4, CHANNELS)
    blocks = weight.view(24, 4, CHANNELS)
    expected = sum(slots[:, s] @ blocks[:, s].T for s in range(4)) + bias
    hand = (expected.logsumexp(dim=1) - expected[torch.arange(COUNT), batch.target]).mean()
    torch.testing.assert_close(proxy.loss(output_for(batch), batch).total, hand)


# Colorization


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
        ((0.01, 0.01, 0.01), (0.70, 0.0, 0.0)),  # below both knees
    ],
)
def test_known_colours_in_lab(
    rgb: tuple[float, float, float], expected: tuple[float, float, float]
) -> None:
    given = lab(torch.tensor(rgb).view(1, 3, 1, 1)).flatten().tolist()
    assert given == pytest.approx(expected, abs=0.01)


def all_colours(levels: int) -> Tensor:
    """Colours of sRGB evenly, as one image (1, 3, levels, levels^2)."""
    shades = torch.linspace(0, 1, levels)
    return torch.cartesian_prod(shades, shades, shades).T.reshape(1, 3, levels, -1)


def test_the_313_centres_are_a_grid_that_covers_the_colours() -> None:
    assert len(CENTRES) == len(set(CENTRES)) == 313
    assert list(CENTRES) == sorted(CENTRES)
    assert all(value % 10 == 0 for centre in CENTRES for value in centre)
    assert (CENTRES[0], CENTRES[4], CENTRES[5], CENTRES[-1]) == (
        (-90, 50),
        (-90, 90),
        (-80, 20),
        (100, 0),
    )
    ab = lab(all_colours(32).double())[0, 1:].flatten(1).T
    reached = {(10 * a, 10 * b) for a, b in (ab / 10).round().int().tolist()}
    assert reached < set(CENTRES)
    # Nor is any centre far from all colours.
    distance = torch.cdist(torch.tensor(CENTRES).double(), ab).amin(dim=1)
    assert float(distance.max()) < 15.5


def test_a_pixel_is_labelled_with_its_nearest_centre() -> None:
    rgb = all_colours(24)
    target = task("colorization").prepare(normalised(rgb), torch.zeros(1)).target
    ab = lab(rgb.double())[0, 1:].flatten(1).T
    distance = torch.cdist(ab, torch.tensor(CENTRES).double())
    chosen = distance.gather(1, target.view(-1, 1))[:, 0]
    assert target.shape == (1, 24, 576)
    assert float((chosen - distance.amin(dim=1)).max()) < 1e-3


def test_the_supernet_sees_the_normalised_lightness_alone() -> None:
    rgb = rgb_images()
    inputs = task("colorization").prepare(normalised(rgb), torch.zeros(COUNT)).inputs
    lightness = lab(rgb)[:, :1] / 100
    expected = (lightness - sum(MEAN) / 3) / (sum(STD) / 3)
    torch.testing.assert_close(inputs, expected.expand(-1, 3, -1, -1), atol=1e-5, rtol=1e-5)


def test_colours_that_rounding_took_out_of_range_have_a_label() -> None:
    images = normalised(torch.tensor([-1e-6, 1 + 1e-6, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    batch = task("colorization").prepare(images, torch.zeros(1))
    assert torch.isfinite(batch.inputs).all()


def test_every_pixel_is_answered_from_features_spread_to_the_corners() -> None:
    """Corner features stay at the corners, and between two the scores run linearly."""
    proxy = task("colorization")
    batch = proxy.prepare(*images_and_labels())
    features = output_for(batch).features
    weight, bias = proxy.head.parameters()
    assert weight.shape == (313, CHANNELS, 1, 1)
    coarse = torch.einsum("kc,nchw->nhwk", weight[:, :, 0, 0], features) + bias
    at = torch.arange(SIZE) * (7 / (SIZE - 1))
    low = at.long().clamp(max=6)
    share = (at - low)[:, None]
    rows = torch.lerp(coarse[:, low], coarse[:, low + 1], share[:, :, None])
    fine = torch.lerp(rows[:, :, low], rows[:, :, low + 1], share)
    torch.testing.assert_close(proxy.answer(features), fine.flatten(0, 2), atol=1e-5, rtol=1e-5)
    picked = fine.gather(3, batch.target[..., None])[..., 0]
    hand = (fine.logsumexp(dim=3) - picked).mean()
    torch.testing.assert_close(proxy.loss(output_for(batch), batch).total, hand)
