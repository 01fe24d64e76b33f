"""Augmentation and normalisation of whole batches, on the device they are on.

Random numbers come from the device's default generator alone, so a batch follows bit for bit
from the seed set before it. A setting that is off draws nothing.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.data.dataset import Channels
from sdedge.errors import ConfigError

__all__ = ["Augmentation", "Preprocess"]

_GREY = (0.2989, 0.587, 0.114)
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_CROP_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """What training does to an image, in this order; the default does nothing.

    `crop_padding`: pad by that many black pixels and cut a random square of the original size.
    `resized_crop`: a random part of 8 to 100% of the area and ratio 3/4 to 4/3, scaled back
    (Szegedy et al., 2015); excludes `crop_padding`.
    `flip`: mirror left to right with probability 1/2.
    `colour_jitter`: strengths of brightness, contrast, saturation (factors from 1 - s to 1 + s)
    and hue (a turn of up to s either way, at most 1/2).
    `cutout`: side of a square that is zero after normalisation; its centre is anywhere, so part
    of it may lie outside (DeVries and Taylor, 2017).
    """

    crop_padding: int = 0
    resized_crop: bool = False
    flip: bool = False
    colour_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    cutout: int = 0

    def __post_init__(self) -> None:
        for field in ("crop_padding", "cutout"):
            value = getattr(self, field)
            if value < 0:
                raise ConfigError(f"{field} is {value}; it must be 0 or more pixels")
        if self.crop_padding and self.resized_crop:
            raise ConfigError(
                f"crop_padding is {self.crop_padding} and resized_crop is on; choose one of them"
            )
        if len(self.colour_jitter) != 4:
            raise ConfigError(
                f"colour_jitter is {self.colour_jitter}; it must be four strengths: "
                "brightness, contrast, saturation, hue"
            )
        for name, strength, limit in zip(
            ("brightness", "contrast", "saturation", "hue"),
            self.colour_jitter,
            (1.0, 1.0, 1.0, 0.5),
            strict=True,
        ):
            if not 0 <= strength <= limit:
                raise ConfigError(f"colour_jitter has {name} {strength}; it must be 0 to {limit:g}")


class Preprocess:
    """uint8 images (B, S, S, 3) to normalised float32 (B, 3, image_size, image_size).

    The result is channels-last in memory. Without an augmentation nothing is random: the centre
    of images that are stored larger, normalised. Raises ConfigError for images stored smaller.
    """

    def __init__(
        self,
        mean: Channels,
        std: Channels,
        image_size: int,
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> None:
        self.image_size = image_size
        self.augmentation = augmentation
        # Once a pixel of a row, not once a channel: a long inner loop is seven times as fast.
        self._scale = torch.tensor([1 / (255 * s) for s in std], device=device).repeat(image_size)
        self._shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).repeat(image_size)

    def __call__(self, images: Tensor) -> Tensor:
        stored = images.shape[1]
        if stored < self.image_size:
            raise ConfigError(f"image_size is {self.image_size}, but images are stored at {stored}")
        if self.augmentation is None:
            margin = (stored - self.image_size) // 2
            centre = slice(margin, margin + self.image_size)
            return self._normalised(images[:, centre, centre]).permute(0, 3, 1, 2)
        return self._augmented(images, self.augmentation).permute(0, 3, 1, 2)

    def _augmented(self, pixels: Tensor, augmentation: Augmentation) -> Tensor:
        if augmentation.resized_crop:
            pixels = _resized_crop(pixels, self.image_size)
        elif augmentation.crop_padding or pixels.shape[1] > self.image_size:
            pixels = _crop(pixels, augmentation.crop_padding, self.image_size)
        if augmentation.flip:
            chosen = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < 0.5
            pixels = torch.where(chosen, pixels.flip(2), pixels)
        if any(augmentation.colour_jitter):
            pixels = _jittered(pixels / 255, augmentation.colour_jitter) * 255
        normalised = self._normalised(pixels)
        return _cut_out(normalised, augmentation.cutout) if augmentation.cutout else normalised

    def _normalised(self, pixels: Tensor) -> Tensor:
        rows = pixels.reshape(len(pixels), self.image_size, -1).float()
        return torch.addcmul(self._shift, rows, self._scale).view(pixels.shape)


def _crop(images: Tensor, padding: int, size: int) -> Tensor:
    """(B, S, S, 3) to (B, size, size, 3): pad with black, cut a random window."""
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    count, side = padded.shape[:2]
    offsets = torch.randint(side - size + 1, (2, count, 1), device=images.device)
    windows = padded.view(count, side, side * 3).unfold(2, size * 3, 3)  # (B, side, offset, row)
    rows = offsets[0] + torch.arange(size, device=images.device)  # (B, size)
    which = torch.arange(count, device=images.device)[:, None]
    return windows[which, rows, offsets[1]].view(count, size, size, 3)


def _resized_crop(images: Tensor, size: int) -> Tensor:
    """(B, S, S, 3) to (B, size, size, 3): a random box of each image, scaled bilinearly."""
    side = images.shape[1]
    height, width = _random_boxes(len(images), side, images.device)
    corners = torch.rand(2, len(images), device=images.device)
    top, left = torch.floor(corners * torch.stack([side - height + 1, side - width + 1]))
    y, x = _samples(top, height, size), _samples(left, width, size)  # (B, size)
    grid = torch.stack(
        [x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1
    )
    planes = images.permute(0, 3, 1, 2).float()
    sampled = F.grid_sample(planes, (2 * grid + 1) / side - 1, align_corners=False)
    return sampled.permute(0, 2, 3, 1)


def _random_boxes(count: int, side: int, device: torch.device) -> Tensor:
    """Heights and widths (2, B) in pixels: the first of ten draws that fits, else all."""
    area = torch.empty(count, _CROP_TRIES, device=device).uniform_(*_AREA) * side**2
    ratio = torch.empty_like(area).uniform_(*map(math.log, _RATIO)).exp()
    boxes = torch.stack([area / ratio, area * ratio]).sqrt().round().clamp(min=1)
    fits = (boxes <= side).all(dim=0)
    first = fits.int().argmax(dim=1, keepdim=True)
    chosen = boxes.gather(2, first.expand(2, -1, -1)).squeeze(2)
    return torch.where(fits.any(dim=1), chosen, float(side))


def _samples(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where `size` pixels lie that span start..start+length: (B, size), inside the span."""
    start, length = start[:, None], length[:, None]
    steps = (torch.arange(size, device=start.device) + 0.5) / size
    at = start + steps * length - 0.5
    return torch.minimum(torch.maximum(at, start), start + length - 1)


def _jittered(images: Tensor, strengths: tuple[float, float, float, float]) -> Tensor:
    """(B, S, S, 3) in 0..1; each image its own factors, in the order of `strengths`."""
    brightness, contrast, saturation, hue = strengths
    if brightness:
        images = (images * _factors(images, brightness)).clamp(0, 1)
    if contrast:
        mean = _grey(images).mean(dim=(1, 2), keepdim=True)
        images = torch.lerp(mean, images, _factors(images, contrast)).clamp(0, 1)
    if saturation:
        images = torch.lerp(_grey(images), images, _factors(images, saturation)).clamp(0, 1)
    if hue:
        images = _hue_turned(images, _factors(images, hue) - 1)
    return images


def _factors(images: Tensor, strength: float) -> Tensor:
    draws = torch.rand(len(images), 1, 1, 1, device=images.device)
    return 1 + strength * (2 * draws - 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = torch.split(images, 1, dim=-1)
    return _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue


def _hue_turned(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of (B, S, S, 3) by a share of the full circle, in the HSV hexagon."""
    red, green, blue = torch.split(images, 1, dim=-1)
    value = images.amax(dim=-1, keepdim=True)
    chroma = value - images.amin(dim=-1, keepdim=True)
    divisor = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    phase = sector + 6 * turn + torch.arange(5, 0, -2, device=images.device)
    away = torch.remainder(phase, 6.0)
    return value - chroma * torch.minimum(away, 4 - away).clamp(0, 1)


def _cut_out(images: Tensor, side: int) -> Tensor:
    """Zero a square of each normalised image (B, S, S, 3)."""
    count, size = images.shape[:2]
    top, left = torch.randint(size, (2, count, 1), device=images.device) - side // 2
    down = torch.arange(size, device=images.device)
    across = down.repeat_interleave(3)  # the colours of a pixel lie side by side
    rows = (down >= top) & (down < top + side)  # (B, S)
    columns = (across >= left) & (across < left + side)  # (B, 3 S)
    hole = rows[:, :, None] & columns[:, None, :]
    return images.view(count, size, -1).masked_fill(hole, 0.0).view(images.shape)
