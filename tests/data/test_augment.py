"""Batch augmentation gives what a slow image-by-image one would, with the right odds, by seed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from sdedge.data import augment
from sdedge.data.augment import Augmentation, Preprocess
from sdedge.errors import ConfigError

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
ALL = Augmentation(crop_padding=4, flip=True, colour_jitter=(0.4, 0.4, 0.4, 0.2), cutout=8)


def _images(count: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


def _preprocess(
    size: int, augmentation: Augmentation | None, device: torch.device = CPU
) -> Preprocess:
    return Preprocess(MEAN, STD, size, augmentation, device)


def _normalised(image: Tensor) -> Tensor:
    """One (S, S, 3) image the way torchvision does it: (3, S, S)."""
    return reference.normalize(image.permute(2, 0, 1).float() / 255, list(MEAN), list(STD))


def test_normalisation_is_the_reference() -> None:
    images = _images(5, 16)
    result = _preprocess(16, None)(images)
    assert result.shape == (5, 3, 16, 16)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, torch.stack([_normalised(image) for image in images]))


def test_images_stored_larger_are_cut_in_the_middle() -> None:
    images = _images(4, 20)
    expected = torch.stack([_normalised(image) for image in images[:, 2:18, 2:18]])
    torch.testing.assert_close(_preprocess(16, None)(images), expected)


def test_images_stored_smaller_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size is 32, but images are stored at 16"):
        _preprocess(32, ALL)(_images(2, 16))


def test_nothing_is_drawn_when_nothing_is_on() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for augmentation in (None, Augmentation()):
        _preprocess(16, augmentation)(_images(3, 16))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "augmentation",
    [ALL, Augmentation(resized_crop=True, flip=True), Augmentation(crop_padding=2)],
)
def test_the_seed_decides_every_bit(augmentation: Augmentation, device: str) -> None:
    images = _images(16, 32).to(device)
    preprocess = _preprocess(32, augmentation, torch.device(device))

    def seeded(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return preprocess(images)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))


@pytest.mark.parametrize(("stored", "size", "padding"), [(8, 8, 2), (10, 8, 0), (9, 8, 1)])
def test_crop_and_flip_are_one_of_the_reference_crops(stored: int, size: int, padding: int) -> None:
    """Each result must equal the crop of one offset, flipped or not; all are equally likely."""
    images = _images(3_000, stored)
    torch.manual_seed(0)
    result = _preprocess(size, Augmentation(crop_padding=padding, flip=True))(images)
    offsets = stored + 2 * padding - size + 1
    padded = F.pad(images.permute(0, 3, 1, 2), (padding,) * 4)
    hits = torch.zeros(2, offsets, offsets)
    for top in range(offsets):
        for left in range(offsets):
            crop = padded[:, :, top : top + size, left : left + size]
            normal = reference.normalize(crop.float() / 255, list(MEAN), list(STD))
            for flipped, candidate in enumerate((normal, normal.flip(3))):
                same = (result - candidate).abs().amax(dim=(1, 2, 3)) < 1e-5
                hits[flipped, top, left] = same.sum()
    assert hits.sum() == len(images)
    expected = len(images) / hits.numel()
    assert ((hits - expected).abs() < 5 * expected**0.5).all()
    assert hits[1].sum() / len(images) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("side", [4, 5, 12])
def test_cutout_zeroes_one_square_of_the_reference(side: int) -> None:
    """The centre is anywhere in the image, so squares at the border are cut off."""
    size = 8
    images = torch.full((4_000, size, size, 3), 255, dtype=torch.uint8)
    torch.manual_seed(0)
    result = _preprocess(size, Augmentation(cutout=side))(images)
    holes = result == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert torch.equal(holes[:, 0], holes[:, 2])
    torch.testing.assert_close(
        torch.where(holes, 0, result), torch.where(holes, 0, _preprocess(size, None)(images))
    )
    found = np.zeros(len(images), int)
    seen = []
    for y in range(size):
        for x in range(size):
            mask = np.zeros((size, size), bool)
            top, left = y - side // 2, x - side // 2
            mask[max(0, top) : top + side, max(0, left) : left + side] = True
            same = (holes[:, 0].numpy() == mask).all((1, 2))
            found += same
            seen.append(same.sum())
    assert (found > 0).all()
    if side <= size:  # larger squares look alike from several centres
        expected = len(images) / size**2
        assert np.abs(np.array(seen) - expected).max() < 5 * expected**0.5


JITTERS: dict[str, tuple[int, Callable[[Tensor, float], Tensor]]] = {
    "brightness": (0, reference.adjust_brightness),
    "contrast": (1, reference.adjust_contrast),
    "saturation": (2, reference.adjust_saturation),
    "hue": (3, lambda image, factor: reference.adjust_hue(image, factor - 1)),
}


@pytest.mark.parametrize("name", JITTERS)
def test_jitter_is_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, adjust = JITTERS[name]
    strengths = tuple(0.5 if index == place else 0.0 for index in range(4))
    factors = torch.linspace(0.5, 1.5, 11)
    monkeypatch.setattr(augment, "_factors", lambda *_: factors.view(-1, 1, 1, 1))
    images = _images(11, 8)
    images[:, 0, 0] = 0  # no hue, no saturation
    images[:, 0, 1] = 200
    images[:, 0, 2] = torch.tensor([255, 255, 0], dtype=torch.uint8)
    result = _preprocess(8, Augmentation(colour_jitter=strengths))(images)
    for image, factor, output in zip(images, factors.tolist(), result, strict=True):
        adjusted = adjust(image.permute(2, 0, 1).float() / 255, factor)
        expected = reference.normalize(adjusted, list(MEAN), list(STD))
        torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-5)


def test_jitter_factors_spread_over_their_range() -> None:
    torch.manual_seed(0)
    factors = augment._factors(torch.empty(5_000), 0.4)
    assert factors.shape == (5_000, 1, 1, 1)
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    quarters = torch.histc(factors, 4, 0.6, 1.4)
    assert (quarters / 5_000 - 0.25).abs().max() < 0.03


@pytest.mark.parametrize(("height", "width"), [(5, 7), (3, 3), (10, 10), (1, 9)])
def test_a_resized_crop_is_the_box_scaled(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a known box size the result must be that box at some place, scaled on its own."""
    images, size = _images(40, 10), 8
    box = torch.tensor([[float(height)], [float(width)]]).expand(2, 40)
    monkeypatch.setattr(augment, "_random_boxes", lambda *_: box)
    torch.manual_seed(0)
    result = _preprocess(size, Augmentation(resized_crop=True))(images)
    found = torch.zeros(40, dtype=torch.bool)
    corners = set()
    for top in range(10 - height + 1):
        for left in range(10 - width + 1):
            crop = images[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
            scaled = F.interpolate(crop.float(), (size, size), mode="bilinear")
            expected = reference.normalize(scaled / 255, list(MEAN), list(STD))
            same = (result - expected).abs().amax(dim=(1, 2, 3)) < 1e-3
            found |= same
            if same.any():
                corners.add((top, left))
    assert found.all()
    places = (10 - height + 1) * (10 - width + 1)
    assert len(corners) > min(places, 40) / 3


def test_boxes_have_the_area_and_ratio_they_should() -> None:
    torch.manual_seed(0)
    side = 224
    height, width = augment._random_boxes(5_000, side, CPU)
    assert torch.equal(height, height.round())
    assert max(height.max(), width.max()) <= side
    share = height * width / side**2
    ratio = width / height
    assert share.min() > 0.075
    assert ratio.min() > 0.73
    assert ratio.max() < 1.37
    assert 0.45 < share.mean() < 0.55  # large boxes that do not fit are drawn again
    assert abs(ratio.log().mean()) < 0.02


def test_a_box_that_never_fits_becomes_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_AREA", (1.0, 1.0))
    monkeypatch.setattr(augment, "_RATIO", (1.2, 1.3))
    boxes = augment._random_boxes(10, 32, CPU)
    assert (boxes == 32).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"cutout": -3}, "cutout is -3"),
        ({"crop_padding": 4, "resized_crop": True}, "crop_padding is 4 and resized_crop is on"),
        ({"colour_jitter": (0.4,)}, r"colour_jitter is \(0.4,\)"),
        ({"colour_jitter": (0, 1.5, 0, 0)}, "contrast 1.5; it must be 0 to 1"),
        ({"colour_jitter": (0, 0, -0.1, 0)}, "saturation -0.1"),
        ({"colour_jitter": (0, 0, 0, 0.6)}, "hue 0.6; it must be 0 to 0.5"),
        ({"colour_jitter": (float("nan"), 0, 0, 0)}, "brightness nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)
