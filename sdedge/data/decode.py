"""An image file of any size and mode to one square RGB array."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "UNREADABLE", "decode_file", "shorter_side", "square"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

# What Pillow raises on damaged files of these formats, found by corrupting bytes of each.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_file(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode the file at `path` to (size, size, 3).

    The EXIF orientation is honoured, transparency is laid on white, and the largest centred
    square is scaled to `size` with antialiasing: the shorter side becomes `size`.
    Raises one of `UNREADABLE` where the file is damaged.
    """
    with Image.open(path) as image:
        # A JPEG decodes several times as fast at 1/2, 1/4 or 1/8; twice the size loses nothing.
        image.draft(image.mode, (2 * size, 2 * size))
        upright = _UPRIGHT.get(_orientation(image))
        pixels = square(_to_rgb(image), size)
    return pixels if upright is None else np.asarray(Image.fromarray(pixels).transpose(upright))


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Scale the largest centred square of an RGB image to (size, size, 3)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def shorter_side(path: Path) -> int:
    """Shorter side in pixels, from the header alone; raises one of `UNREADABLE`."""
    with Image.open(path) as image:
        return min(image.size)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (*UNREADABLE, TypeError):  # damaged metadata; the pixels may well be sound
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow would clip instead of scale
        grey = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert(
            "RGB"
        )
    return image.convert("RGB")
