"""Any image file becomes the same square RGB array that a careful reading of it gives."""

import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdedge.data.decode import decode_file, shorter_side, used_bits
from sdedge.errors import DataError


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


def _grey(folder: Path, name: str, values: np.ndarray, **options: object) -> Path:
    return _saved(folder, name, Image.fromarray(values), **options)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_twelve_bits_in_sixteen_are_scaled_by_what_the_set_uses(
    tmp_path: Path, suffix: str
) -> None:
    path = _grey(tmp_path, f"a.{suffix}", np.full((8, 8), 0x0800, np.uint16))
    assert used_bits(path) == 12
    assert (decode_file(path, 8, bits=12) == 0x80).all()
    assert (decode_file(path, 8) == 0x08).all()


def test_a_tiff_may_declare_its_greatest_value(tmp_path: Path) -> None:
    """MaxSampleValue holds for the file, whatever the others of its set use."""
    declared = {281: 4095}
    path = _grey(tmp_path, "a.tif", np.full((8, 8), 0x0800, np.uint16), tiffinfo=declared)
    assert used_bits(path) is None
    assert (decode_file(path, 8, bits=16) == 0x80).all()


def test_ranges_that_a_file_declares_need_no_guess(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 8 8 4095\n" + np.full((8, 8), 2048, ">u2").tobytes())
    assert used_bits(path) is None
    np.testing.assert_allclose(decode_file(path, 8, bits=12), 0x80, atol=1)
    path = _saved(tmp_path, "a.jpg", Image.fromarray(_quarters(16, 16)))
    assert used_bits(path) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((8, 8), 70_000, np.int32), "signed or 32-bit integer pixels"),
        (np.full((8, 8), 0.5, np.float32), "floating-point pixels"),
    ],
    ids=["int32", "float"],
)
def test_values_of_no_known_range_are_refused(
    tmp_path: Path, values: np.ndarray, reason: str
) -> None:
    with pytest.raises(DataError, match=f"^{reason}, of no known range; convert it"):
        decode_file(_grey(tmp_path, "a.tif", values), 8)


def test_twelve_bits_a_channel_in_sixteen_are_refused(tmp_path: Path) -> None:
    """Pillow gives the upper eight bits of sixteen: four, where twelve are used."""

    def png(value: int) -> Path:
        def chunk(kind: bytes, data: bytes) -> bytes:
            checked = kind + data
            return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

        header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
        rows = (b"\0" + struct.pack(">H", value) * 24) * 8
        parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        return path

    assert (decode_file(png(0x8000), 8) == 0x80).all()
    with pytest.raises(DataError, match="12 or fewer"):
        decode_file(png(0x0FFF), 8)


@pytest.mark.parametrize("kind", ["EPS", "DDS", "TGA", "ICO", "PCX", "SGI"])
def test_only_the_formats_that_are_meant_are_opened(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow opens an EPS with Ghostscript, another program, whatever the file is called."""
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program ran"))
    Image.fromarray(_quarters(16, 16)).save(tmp_path / "evil.png", kind)
    with pytest.raises(DataError, match="not an image of a supported format"):
        decode_file(tmp_path / "evil.png", 8)


@pytest.mark.parametrize("error", [TypeError, RuntimeError, KeyError, AssertionError, MemoryError])
def test_whatever_a_decoder_raises_is_the_files(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise error("'<' not\nsupported")

    path = _saved(tmp_path, "a.bmp", Image.fromarray(_quarters(16, 16)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(DataError, match=r"not\\nsupported|needs more memory"):
        decode_file(path, 8)


def test_a_picture_that_is_too_large_says_its_size_and_the_limit(tmp_path: Path) -> None:
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, 20_000, 10_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(header + info)
    for read in (shorter_side, lambda path: decode_file(path, 8)):
        with pytest.raises(DataError, match=r"200000000 pixels\) exceeds limit of \d+ pixels"):
            read(tmp_path / "a.bmp")


def test_large_pictures_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else as many of them are in memory as there are decoding threads."""
    monkeypatch.setattr("sdedge.data.decode._LARGE_PIXELS", 100)
    path = _saved(tmp_path, "a.png", Image.fromarray(_quarters(16, 16)))
    active, most = [], []
    convert = Image.Image.convert

    def watched(image: Image.Image, *arguments: object) -> Image.Image:
        active.append(1)
        most.append(len(active))
        time.sleep(0)  # lets the other threads in
        try:
            return convert(image, *arguments)
        finally:
            active.pop()

    monkeypatch.setattr(Image.Image, "convert", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode_file(path, 8), range(40)))
    assert max(most) == 1
