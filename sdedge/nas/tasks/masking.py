"""Random patch masks (Semantic-DARTS, section III-C; He et al., masked autoencoders)."""

import torch
from torch import Tensor

from sdedge.errors import ConfigError


def masked_patches(patches: int, ratio: float) -> int:
    """How many of an image's patches a mask of this ratio hides."""
    return patches - int(patches * (1 - ratio))


def check_mask(image_size: int, patch_size: int, ratio: float) -> None:
    """Raise ConfigError unless patches tile the image and some, but not all, are hidden."""
    if image_size % patch_size:
        raise ConfigError(f"patch_size is {patch_size}; it must divide the {image_size} px images")
    patches = (image_size // patch_size) ** 2
    hidden = masked_patches(patches, ratio)
    if not 0 < hidden < patches:
        raise ConfigError(
            f"mask_ratio is {ratio}; of {patches} patches it hides {hidden}, "
            "and the task needs some hidden and some seen"
        )


def random_mask(images: int, patches: int, ratio: float, device: torch.device) -> Tensor:
    """(images, patches) of bool, true for a random share of each image's patches."""
    noise = torch.rand(images, patches, device=device)
    return noise.argsort(dim=1) >= patches - masked_patches(patches, ratio)


def apply_mask(images: Tensor, mask: Tensor, patch_size: int, fill: float) -> Tensor:
    """Set the masked patches of images (N, C, H, W) to `fill`; mask: (N, patches), row by row."""
    n, _, height, width = images.shape
    grid = mask.view(n, 1, height // patch_size, width // patch_size)
    pixels = grid.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)
    return images.masked_fill(pixels, fill)
