"""Small folders of images to load."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_images() -> MakeFolder:
    """Fill `folder/<class>/` with `count` PNG files of noise for each class."""

    def make(folder: Path, classes: tuple[str, ...], count: int, side: int = 32) -> Path:
        for name in classes:
            (folder / name).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng(
                    [zlib.crc32(os.fsencode(f"{folder.name}/{name}")), number]
                )
                pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
        return folder

    return make
