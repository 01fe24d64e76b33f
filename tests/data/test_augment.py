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
    draws = torch.linspace(0, 1, 11)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: draws.view(shape))
    factors = 0.5 + draws
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
    grey = torch.full((5_000, 1, 1, 3), 100, dtype=torch.uint8)
    result = _preprocess(1, Augmentation(colour_jitter=(0.4, 0, 0, 0)))(grey)
    factors = (result[:, 0].flatten() * STD[0] + MEAN[0]) * 255 / 100
    assert factors.min() > 0.6 - 1e-5
    assert factors.max() < 1.4 + 1e-5
    quarters = torch.histc(factors, 4, 0.6, 1.4)
    assert (quarters / 5_000 - 0.25).abs().max() < 0.03


def _cropped(count: int, side: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images whose red and green are column and row, their crops, and the boxes that these show.

    A box is top, left, height and width in pixels, (B, 4).
    """
    images = _images(count, side)
    step = 255 // (side - 1)
    ramp = torch.arange(side, dtype=torch.uint8) * step
    images[..., 0], images[..., 1] = ramp, ramp[:, None]
    torch.manual_seed(0)
    crops = _preprocess(size, Augmentation(resized_crop=True))(images)
    column, row = (
        (crops[:, channel] * STD[channel] + MEAN[channel]) * 255 / step for channel in (0, 1)
    )
    at = size // 2  # in the middle the samples are not held to the edge
    boxes = []
    for before, after in (
        (row[:, at - 1, 0], row[:, at, 0]),
        (column[:, 0, at - 1], column[:, 0, at]),
    ):
        length = (after - before) * size
        boxes.append((before - (at - 0.5) * (after - before) + 0.5, length))
    (top, height), (left, width) = boxes
    return images, crops, torch.stack([top, left, height, width], dim=1)


def test_a_resized_crop_is_a_box_of_whole_pixels_scaled() -> None:
    """Whatever box it is, the result must be that box, scaled on its own."""
    images, crops, boxes = _cropped(40, 10, 8)
    assert (boxes - boxes.round()).abs().max() < 1e-2
    found = {tuple(box) for box in boxes.round().int().tolist()}
    assert len(found) > 20
    for image, crop, (top, left, height, width) in zip(
        images, crops, boxes.round().int().tolist(), strict=True
    ):
        box = image[top : top + height, left : left + width].permute(2, 0, 1)
        assert box.shape == (3, height, width)
        scaled = F.interpolate(box[None].float(), (8, 8), mode="bilinear")[0]
        expected = reference.normalize(scaled / 255, list(MEAN), list(STD))
        torch.testing.assert_close(crop, expected, atol=1e-3, rtol=0)


def test_boxes_have_the_area_and_ratio_they_should() -> None:
    _, _, boxes = _cropped(2_000, 64, 8)
    top, left, height, width = boxes.round().unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 64
    share, ratio = height * width / 64**2, width / height
    assert 0.07 < share.min() < 0.1  # 0.08, but for whole pixels
    assert 0.71 < ratio.min() < ratio.max() < 1.41
    assert 0.45 < share.mean() < 0.55  # large boxes that do not fit are drawn again
    assert abs(ratio.log().mean()) < 0.03


def test_a_box_that_never_fits_becomes_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_AREA", (1.0, 1.0))
    monkeypatch.setattr(augment, "_RATIO", (1.2, 1.3))
    images = _images(10, 32)
    result = _preprocess(32, Augmentation(resized_crop=True))(images)
    torch.testing.assert_close(result, _preprocess(32, None)(images), atol=1e-4, rtol=0)


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
