"""Patch masks: how many, which, and that image and loss agree on where they are."""

import pytest
import torch

from sdedge.errors import ConfigError
from sdedge.kernels import masked_mse
from sdedge.nas.tasks.masking import apply_mask, check_mask, masked_patches, random_mask

CPU = torch.device("cpu")
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@pytest.mark.parametrize(
    ("patch_size", "counts"),
    [
        (8, (2, 4, 5, 7, 8, 10, 12, 13, 15)),
        (4, (7, 13, 20, 26, 32, 39, 45, 52, 58)),
        (2, (26, 52, 77, 103, 128, 154, 180, 205, 231)),
    ],
)
def test_a_cifar_image_hides_as_many_patches_as_in_the_paper(
    patch_size: int, counts: tuple[int, ...]
) -> None:
    patches = (32 // patch_size) ** 2
    assert tuple(masked_patches(patches, ratio) for ratio in RATIOS) == counts
    for ratio, count in zip(RATIOS, counts, strict=True):
        mask = random_mask(5, patches, ratio, CPU)
        assert mask.dtype == torch.bool
        assert mask.sum(dim=1).tolist() == [count] * 5


def test_every_image_gets_a_mask_of_its_own_and_every_call_new_ones() -> None:
    torch.manual_seed(0)
    first, second = random_mask(8, 64, 0.6, CPU), random_mask(8, 64, 0.6, CPU)
    masks = {tuple(row) for row in torch.cat([first, second]).tolist()}
    assert len(masks) == 16


def test_every_patch_is_as_likely_as_any_other() -> None:
    torch.manual_seed(0)
    share = random_mask(20_000, 16, 0.6, CPU).double().mean(dim=0)
    assert share.tolist() == pytest.approx([10 / 16] * 16, abs=0.02)


def test_only_masked_pixels_are_filled() -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 12, 8).to(memory_format=torch.channels_last)
    mask = random_mask(3, 6, 0.5, CPU)
    original = images.clone()
    filled = apply_mask(images, mask, 4, fill=0.25)
    assert torch.equal(images, original)
    for image in range(3):
        for patch in range(6):
            row, column = divmod(patch, 2)
            area = (
                image,
                slice(None),
                slice(4 * row, 4 * row + 4),
                slice(4 * column, 4 * column + 4),
            )
            expected = torch.full((3, 4, 4), 0.25) if mask[image, patch] else original[area]
            assert torch.equal(filled[area], expected)


@pytest.mark.parametrize("patch_size", [2, 4])
def test_the_loss_looks_just_where_the_image_is_hidden(patch_size: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 12, 8)
    mask = random_mask(3, 96 // patch_size**2, 0.5, CPU)
    prediction = (images + 1 + torch.rand_like(images)).requires_grad_()
    masked_mse(prediction, images, mask, patch_size).backward()  # type: ignore[no-untyped-call]
    hidden = torch.isnan(apply_mask(images, mask, patch_size, fill=torch.nan))
    assert prediction.grad is not None
    assert torch.equal(prediction.grad != 0, hidden)


@pytest.mark.parametrize(("image_size", "patch_size"), [(32, 5), (32, 64), (9, 2)])
def test_patches_must_tile_the_image(image_size: int, patch_size: int) -> None:
    with pytest.raises(ConfigError, match=f"patch_size is {patch_size}.* {image_size} px"):
        check_mask(image_size, patch_size, 0.5)


@pytest.mark.parametrize(
    ("image_size", "patch_size", "ratio"), [(32, 32, 0.5), (16, 8, 0.99), (8, 8, 0.1)]
)
def test_some_patches_must_be_hidden_and_some_seen(
    image_size: int, patch_size: int, ratio: float
) -> None:
    with pytest.raises(ConfigError, match=f"mask_ratio is {ratio}"):
        check_mask(image_size, patch_size, ratio)


@pytest.mark.parametrize("ratio", [0.001, 0.5, 0.74])
def test_a_mask_that_hides_some_and_not_all_is_accepted(ratio: float) -> None:
    check_mask(16, 8, ratio)
