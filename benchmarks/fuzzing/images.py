"""Pictures of every format that is read, and of some that are not."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuzzing.harness import Target
from sdedge.data.decode import decode_file, shorter_side
from sdedge.errors import DataError

_SIDE = 24


def target(folder: Path) -> Target:
    """Decoding of one file, as of a folder of images."""
    path = folder / "picture"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        decode_file(path, 16)
        shorter_side(path)

    return Target(tuple(_originals()), read, (DataError,))


def _originals() -> list[bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE + 8, 3), np.uint8))
    grey = colour.convert("L")
    deep = Image.fromarray(rng.integers(0, 65536, (_SIDE, _SIDE), np.uint16))
    real = Image.fromarray(rng.random((_SIDE, _SIDE), np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [colour.rotate(turn) for turn in (90, 180, 270)]
    several: dict[str, Any] = {"save_all": True, "append_images": frames}
    return [
        _saved(colour, "JPEG", exif=exif),
        _saved(colour, "JPEG", progressive=True),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(colour, "PNG", exif=exif),
        _saved(colour.convert("RGBA"), "PNG"),
        _saved(colour.convert("P"), "PNG", transparency=b"\x00\x80"),
        _saved(deep, "PNG"),
        _saved(colour, "GIF", **several),
        _saved(colour, "BMP"),
        _saved(colour.convert("P"), "BMP"),
        _saved(colour, "WEBP", exif=exif),
        _saved(colour, "WEBP", lossless=True, **several),
        *(_saved(colour, "TIFF", compression=name) for name in (None, "tiff_lzw", "jpeg")),
        _saved(colour, "TIFF", compression="tiff_adobe_deflate", **several),
        _saved(deep, "TIFF"),
        _saved(real, "TIFF"),
        _saved(colour, "PPM"),
        _saved(grey, "PPM"),
        _saved(grey.convert("1"), "TIFF", compression="group4"),
        _saved(colour, "AVIF"),
        _saved(colour, "JPEG2000"),
        _saved(deep, "JPEG2000"),
        *(_saved(colour, name) for name in ("DDS", "EPS", "ICO", "PCX", "SGI", "TGA")),
    ]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
