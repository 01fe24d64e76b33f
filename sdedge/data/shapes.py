"""A data set that needs no download: ten kinds of shape on textured grounds, with pixel masks.

Every image is drawn from a random generator of its own, keyed by seed, split and index. It shows
one to three instances of the labelled class in front and up to three smaller shapes of other
classes behind, upright within twenty degrees, each in a colour around the hue of its class. The
rule that makes the label well defined: all the other shapes together show at most half as many
pixels as the labelled class, whose pixels are the mask.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sdedge.data.source import Block, Decoded, Source, Stream

__all__ = ["CLASSES", "IMAGES", "SHAPES_SIZE", "Drawing", "draw", "shapes_source"]

SHAPES_SIZE = 32
IMAGES = {"train": 4_000, "test": 1_000}
_VERSION = 2  # raise it when the drawings change
_TILT = np.pi / 9  # objects lean by up to this angle either way
_HUE_SPREAD = 0.025  # of a turn; classes are a tenth apart
_BLOCK = 250

Plane = NDArray[np.float64]  # (S, S)


def _disk(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - 0.9


def _ring(x: Plane, y: Plane) -> Plane:
    return np.abs(np.hypot(x, y) - 0.72) - 0.25


def _box(x: Plane, y: Plane, half_width: float, half_height: float) -> Plane:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _square(x: Plane, y: Plane) -> Plane:
    return _box(x, y, 0.8, 0.8)


def _frame(x: Plane, y: Plane) -> Plane:
    return np.abs(_box(x, y, 0.62, 0.62)) - 0.22


def _bar(x: Plane, y: Plane) -> Plane:
    return _box(x, y, 1.0, 0.3)


def _cross(x: Plane, y: Plane) -> Plane:
    return np.minimum(_box(x, y, 1.0, 0.28), _box(x, y, 0.28, 1.0))


def _triangle(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x) * 0.866 + y * 0.5, -y) - 0.5


def _star(x: Plane, y: Plane) -> Plane:
    sector = np.pi / 5
    angle = np.abs(np.mod(np.arctan2(y, x) + sector, 2 * sector) - sector)  # 0 at a tip
    radius = np.hypot(x, y)
    # Distance to the line from the tip (1, 0) to the notch at radius 0.42.
    return (radius * np.cos(angle) - 1.0) * 0.35 + radius * np.sin(angle) * 0.936


def _crescent(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.45, y))


def _arrow(x: Plane, y: Plane) -> Plane:
    head = np.maximum(x * 0.6 + np.abs(y) * 0.8 - 0.6, -x)
    return np.minimum(head, _box(x + 0.5, y, 0.5, 0.22))


# Signed distance to the outline, negative inside, in units of the object's radius.
_OUTLINES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "arrow": _arrow,
    "bar": _bar,
    "crescent": _crescent,
    "cross": _cross,
    "disk": _disk,
    "frame": _frame,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
CLASSES = tuple(_OUTLINES)


@dataclass(frozen=True)
class Drawing:
    """One image and what each of its pixels belongs to."""

    image: NDArray[np.uint8]  # (S, S, 3)
    owner: NDArray[np.int8]  # (S, S): the class that shows there, -1 for the ground
    label: int


def draw(seed: int, split: str, index: int, size: int) -> Drawing:
    """Draw image `index` of a split ("train" or "test"); its label is index modulo classes."""
    rng = np.random.default_rng([seed, list(IMAGES).index(split), index])
    label = index % len(CLASSES)
    image = _textured(rng, size, rng.uniform(0.1, 0.9, 3), contrast=0.15)
    ground = image.mean(axis=(0, 1))
    owner = np.full((size, size), -1, np.int8)
    for kind, inside in _layers(rng, label, size):
        fill = _textured(rng, size, _distinct_colour(rng, kind, ground), contrast=0.1)
        image += inside[..., None] * (fill - image)
        owner[inside > 0.5] = kind
    image += rng.normal(0.0, rng.uniform(0.01, 0.08), image.shape)
    return Drawing((image.clip(0, 1) * 255).round().astype(np.uint8), owner, label)


def _layers(rng: np.random.Generator, label: int, size: int) -> list[tuple[int, Plane]]:
    """Class and coverage of each object, from the back to the front."""
    instances = rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])
    smallest, largest = np.array([0.26, 0.45]) / np.sqrt(instances)
    front: list[tuple[int, Plane]] = []
    covered = np.zeros((size, size), np.bool_)
    for _ in range(instances):
        inside = _placed(rng, label, size, rng.uniform(smallest, largest))
        shown = inside > 0.5
        if np.count_nonzero(shown & covered) <= 0.1 * np.count_nonzero(shown):  # two bars: a cross
            front.append((label, inside))
            covered |= shown
    allowed = np.count_nonzero(covered) // 2
    behind: list[tuple[int, Plane]] = []
    for kind in rng.choice(len(CLASSES), rng.integers(0, 4)):
        inside = _placed(rng, kind, size, rng.uniform(0.08, 0.2))
        area = np.count_nonzero((inside > 0.5) & ~covered)
        if kind != label and area <= allowed:
            behind.append((int(kind), inside))
            allowed -= area
    return behind + front


def _placed(rng: np.random.Generator, kind: int, size: int, radius: float) -> Plane:
    """How much of each pixel an object of that class covers, at a random place and pose.

    `radius` is a share of the image's side; the centre keeps most of the object inside.
    """
    x, y = _grid(size)
    centre = rng.uniform(0.8 * radius, 1 - 0.8 * radius, 2)
    angle = rng.uniform(-_TILT, _TILT)
    stretch = radius * np.exp(rng.uniform(-0.15, 0.15, 2))
    right, down = x - centre[0], y - centre[1]
    u = (np.cos(angle) * right + np.sin(angle) * down) / stretch[0]
    v = (np.cos(angle) * down - np.sin(angle) * right) / stretch[1]
    outline = _OUTLINES[CLASSES[kind]](u, v)
    return (0.5 - outline * radius * size).clip(0, 1)


@cache
def _grid(size: int) -> tuple[Plane, Plane]:
    """x and y of the pixel centres, 0 to 1."""
    steps = (np.arange(size) + 0.5) / size
    return np.broadcast_to(steps, (size, size)), np.broadcast_to(steps[:, None], (size, size))


def _distinct_colour(
    rng: np.random.Generator, kind: int, ground: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A colour around the hue of its class that stands out from the mean colour of the ground.

    Hues of neighbouring classes overlap: colour is a strong hint, and shape decides.
    """
    hue = (kind / len(CLASSES) + rng.normal(0, _HUE_SPREAD, (8, 1))) % 1
    saturation, value = rng.uniform(0.5, 1, (2, 8, 1))
    ramp = np.abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1  # red, green, blue
    candidates = value * (1 - saturation * (1 - ramp.clip(0, 1)))
    distance = np.linalg.norm(candidates - ground, axis=1)
    standing_out = np.flatnonzero(distance > 0.3)
    chosen: NDArray[np.float64] = candidates[
        standing_out[0] if len(standing_out) else distance.argmax()
    ]
    return chosen


def _textured(
    rng: np.random.Generator, size: int, colour: NDArray[np.float64], contrast: float
) -> NDArray[np.float64]:
    """(S, S, 3): a colour varied by a random texture, by up to `contrast` a channel."""
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, size)
    return colour + texture[..., None] * rng.uniform(-contrast, contrast, 3)


def _wave(rng: np.random.Generator, size: int, fewest: float, most: float) -> Plane:
    """Phase in radians of a plane wave with that many periods across the image."""
    x, y = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    periods = rng.uniform(fewest, most)
    across: Plane = np.cos(angle) * x + np.sin(angle) * y
    return 2 * np.pi * (periods * across + rng.uniform())


def _gradient(rng: np.random.Generator, size: int) -> Plane:
    return np.sin(_wave(rng, size, 0.2, 0.6))


def _stripes(rng: np.random.Generator, size: int) -> Plane:
    return np.sin(_wave(rng, size, 2, 6)).clip(-0.5, 0.5) * 2


def _checker(rng: np.random.Generator, size: int) -> Plane:
    board: Plane = np.sin(_wave(rng, size, 1, 3)) * np.sin(_wave(rng, size, 1, 3))
    return np.sign(board)


def _noise(rng: np.random.Generator, size: int) -> Plane:
    """Random values on a coarse grid, interpolated between its points."""
    points = int(rng.integers(4, 10))
    coarse = rng.uniform(-1, 1, (points, points))
    steps = np.linspace(0, points - 1, size)
    weights = (1 - np.abs(steps[:, None] - np.arange(points))).clip(0)  # (S, points)
    interpolated: Plane = weights @ coarse @ weights.T
    return interpolated


_TEXTURES = (_gradient, _stripes, _checker, _noise)


def shapes_source(image_size: int | None, seed: int) -> Source:
    """The shapes drawn from `seed` as a source: 4,000 images to train on and 1,000 to test."""
    size = SHAPES_SIZE if image_size is None else image_size
    return Source(
        name="shapes",
        origin="drawn by sdedge",
        identity=f"shapes at {size} pixels, seed {seed}",
        fingerprint=f"shapes version {_VERSION} at {size} pixels, seed {seed}",
        image_size=size,
        decode=lambda: Decoded(CLASSES, _stream(seed, "train", size), _stream(seed, "test", size)),
    )


def _stream(seed: int, split: str, size: int) -> Stream:
    return Stream(IMAGES[split], _blocks(seed, split, size))


def _blocks(seed: int, split: str, size: int) -> Iterator[Block]:
    for start in range(0, IMAGES[split], _BLOCK):
        indices = range(start, min(start + _BLOCK, IMAGES[split]))
        drawings = [draw(seed, split, index, size) for index in indices]
        yield Block(
            images=np.stack([drawing.image for drawing in drawings]),
            labels=np.array([drawing.label for drawing in drawings], np.int64),
            masks=np.stack([drawing.owner == drawing.label for drawing in drawings]),
        )
