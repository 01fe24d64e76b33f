"""An image file of any size and mode to one square RGB array.

Files come from anywhere, so a decoder may raise anything: every exception becomes a DataError
whose message is the reason alone; the caller names the file.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sdedge.errors import DataError
from sdedge.escape import printable

__all__ = ["IMAGE_SUFFIXES", "decode_file", "shorter_side", "square", "used_bits"]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Pillow knows forty more; one of them (EPS) starts another program.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

_LARGE_PIXELS = 2**24
_ONE_LARGE_AT_A_TIME = threading.Lock()  # or the decoding threads fill the memory together

_MAX_REASON = 120
_BITS_TAG, _MAX_VALUE_TAG = 258, 281  # of TIFF: BitsPerSample, MaxSampleValue


def decode_file(path: Path, size: int, bits: int = 16) -> NDArray[np.uint8]:
    """Decode the file at `path` to (size, size, 3).

    The EXIF orientation is honoured, transparency is laid on white, and the largest centred
    square is scaled to `size` with antialiasing: the shorter side becomes `size`. Grey values of
    16 bits, where the file does not say how many of them it uses, are taken to use `bits`.
    Raises DataError where the file is damaged, of another format, or of an unknown range of values.
    """
    with _opened(path) as image:
        stored = _raw_mode(image)  # lost once the image is loaded
        # A JPEG decodes several times as fast at 1/2, 1/4 or 1/8; twice the size loses nothing.
        image.draft(image.mode, (2 * size, 2 * size))
        orientation = _orientation(image)
        with _ONE_LARGE_AT_A_TIME if image.width * image.height > _LARGE_PIXELS else nullcontext():
            scaled = Image.fromarray(square(_to_rgb(image, stored, bits), size))
        # Turned once it is small: the pixels of a photograph are many.
        scaled.getexif()[ExifTags.Base.Orientation] = orientation
        return np.asarray(ImageOps.exif_transpose(scaled))


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Scale the largest centred square of an RGB image to (size, size, 3)."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def shorter_side(path: Path) -> int:
    """Shorter side in pixels, from the header alone; raises DataError as `decode_file` does."""
    with _opened(path) as image:
        return min(image.size)


def used_bits(path: Path) -> int | None:
    """Bits of the largest grey value, in a file of 16 bits a pixel that does not declare them.

    None for any other file. Raises DataError as `decode_file` does.
    """
    if not _may_be_deep(path):
        return None
    with _opened(path) as image:
        if not _is_deep_grey(image, _raw_mode(image)) or _declared_bits(image) is not None:
            return None
        return int(np.asarray(image).max()).bit_length()


def _may_be_deep(path: Path) -> bool:
    """Whether this is a TIFF, or a grey PNG of 16 bits, by its first bytes: most files are not."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:  # decoding will say so
        return False
    return head[:2] in (b"II", b"MM") or (head[:4] == b"\x89PNG" and head[24:26] == b"\x10\x00")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_formats()) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not an image of a supported format, or damaged at its start") from None
    except Image.DecompressionBombError as error:  # it names the size and the limit
        raise DataError(str(error).partition(", could be")[0].lower()) from None
    except MemoryError:
        raise DataError("needs more memory than is available") from None
    except Exception as error:  # a decoder of foreign files: see above
        if isinstance(error, OSError) and error.strerror:
            raise DataError(error.strerror) from error
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"damaged: {reason[:_MAX_REASON]}") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  # damaged metadata; the pixels may well be sound
        return 1


def _to_rgb(image: Image.Image, stored: str, bits: int) -> Image.Image:
    if image.mode[0] in "IF":  # Pillow would clip such values instead of scaling them
        return _deep_grey(image, stored, bits).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert(
            "RGB"
        )
    else:
        rgb = image.convert("RGB")
    # Of 16 bits a channel Pillow keeps the upper eight.
    if ";16" in stored and max(high for _, high in rgb.getextrema()) < 16:  # type: ignore[misc]
        raise DataError(
            "16 bits a channel, of which it uses 12 or fewer: black once read; convert it to 8 bits"
        )
    return rgb


def _deep_grey(image: Image.Image, stored: str, bits: int) -> Image.Image:
    if not _is_deep_grey(image, stored):
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit integer"
        raise DataError(f"{kind} pixels, of no known range; convert it to 8 or 16 bits a pixel")
    used = _declared_bits(image) or bits
    grey = np.asarray(image).astype(np.int64) >> max(0, used - 8)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def _is_deep_grey(image: Image.Image, stored: str) -> bool:
    """Whether a pixel is one unsigned number of nine to sixteen bits."""
    if image.mode == "I":  # a PGM, or a PNG for older versions of Pillow
        return image.format == "PPM" or stored == "I;16B"
    return image.mode.startswith("I;16")


def _declared_bits(image: Image.Image) -> int | None:
    """How many bits the values take where the file says so: a PNG and most TIFF do not."""
    if image.format in ("PPM", "JPEG2000"):
        return 16  # scaled to that by Pillow
    tags = getattr(image, "tag_v2", {})
    bits, most = (_first(tags.get(tag)) for tag in (_BITS_TAG, _MAX_VALUE_TAG))
    if bits is not None and 8 < bits < 16:
        return bits
    return most.bit_length() if most is not None and 255 < most < 65535 else None


def _first(value: object) -> int | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else None


def _raw_mode(image: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's words; empty where that is unknown."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""
