"""Any image file becomes the same square RGB array that a careful reading of it gives."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdedge.data.decode import UNREADABLE, decode_file, shorter_side


def _quarters(width: int, height: int) -> np.ndarray:
    """An image whose four quarters are red, green, blue and white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 255
    return pixels


def _saved(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    path = _saved(tmp_path, "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(decode_file(path, 32), pixels)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (33, 21), (7, 7), (3, 200)])
def test_the_centred_square_is_scaled(tmp_path: Path, width: int, height: int) -> None:
    """A horizontal and a vertical ramp must keep their centre and lose their ends alike."""
    side = min(width, height)
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    pixels = np.stack([x, y, np.full_like(x, 77)], -1).round().astype(np.uint8)
    decoded = decode_file(_saved(tmp_path, "a.png", Image.fromarray(pixels)), 16).astype(float)
    assert decoded.shape == (16, 16, 3)
    assert (decoded[..., 2] == 77).all()
    for values, length in ((decoded[..., 0].mean(0), width), (decoded[..., 1].mean(1), height)):
        margin = (length - side) / 2 / max(length - 1, 1) * 255
        assert values[:8].mean() + values[8:].mean() == pytest.approx(255, abs=3)
        assert values[0] >= margin - 1


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (10, 20, 30, 255)
    decoded = decode_file(_saved(tmp_path, "a.png", Image.fromarray(pixels)), 8)
    assert (decoded[:, :4] == (10, 20, 30)).all()
    assert (decoded[:, 4:] == 255).all()


def test_a_palette_with_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat([[0, 1]], 8, 0).repeat(4, 1).astype(np.uint8), "P")
    image.putpalette([200, 0, 0, 0, 0, 200])
    decoded = decode_file(_saved(tmp_path, "a.png", image, transparency=b"\xff\x00"), 8)
    assert (decoded[:, :4] == (200, 0, 0)).all()
    assert (decoded[:, 4:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.full((20, 20, 3), 255, np.uint8)).convert(mode)
    suffix = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    decoded = decode_file(_saved(tmp_path, f"a.{suffix}", image), 8)
    assert decoded.shape == (8, 8, 3)
    assert decoded.dtype == np.uint8
    assert (decoded >= 254).all()


def test_sixteen_bits_a_pixel_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.full((8, 8), 0x8000, np.uint16)
    decoded = decode_file(_saved(tmp_path, "a.png", Image.fromarray(grey)), 8)
    assert (decoded == 0x80).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    """What a camera stores turned must come out upright."""
    upright = Image.fromarray(_quarters(64, 48))
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _saved(tmp_path, f"a.{suffix}", stored, exif=exif)
    decoded = decode_file(path, 16)
    corners = [decoded[y, x] for y in (3, 12) for x in (3, 12)]
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    np.testing.assert_allclose(corners, expected, atol=12)


def test_a_large_jpeg_is_decoded_like_a_full_decode(tmp_path: Path) -> None:
    """Decoding at a lower resolution first must not show."""
    steps = np.linspace(0, 6 * np.pi, 160)
    waves = 127 + 60 * np.sin(steps)[:, None] + 60 * np.cos(steps)[None, :]
    pixels = np.stack([waves, waves.T, 255 - waves], -1).astype(np.uint8)
    path = _saved(tmp_path, "a.jpg", Image.fromarray(pixels), quality=95)
    full = np.asarray(
        Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR), np.int64
    )
    assert np.abs(decode_file(path, 32) - full).max() <= 6


def test_damaged_metadata_does_not_cost_the_image(tmp_path: Path) -> None:
    exif = b"Exif\x00\x00XX\x2a\x00\x08\x00\x00\x00"
    path = _saved(tmp_path, "a.jpg", Image.fromarray(_quarters(32, 32)), exif=exif)
    assert decode_file(path, 32).shape == (32, 32, 3)


def test_shorter_side_reads_the_header_alone(tmp_path: Path) -> None:
    path = _saved(tmp_path, "a.png", Image.fromarray(_quarters(30, 50)))
    path.write_bytes(path.read_bytes()[:60])
    assert shorter_side(path) == 30


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on the metadata that is damaged here
def test_damage_raises_only_what_is_caught(tmp_path: Path) -> None:
    """A thousand damaged files: each decodes or raises one of the errors that count as damage."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8))
    originals = []
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM", "TIFF"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        originals.append(buffer.getvalue())
    path = tmp_path / "damaged"
    outcomes = {"decoded": 0, "refused": 0}
    for turn in range(1_000):
        content = bytearray(originals[turn % len(originals)])
        if turn % 2:
            content = content[: rng.integers(len(content))]
        else:
            for place in rng.integers(0, min(len(content), 400), 4):
                content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            assert decode_file(path, 16).shape == (16, 16, 3)
            outcomes["decoded"] += 1
        except UNREADABLE:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100
