"""Which images of a folder without splits are held out for testing.

Each image decides for itself: it is held out if a digest of its content falls in the lowest fifth.
So images that come or go leave the others where they are, as do new names, and copies of one image
stay together.
"""

import hashlib
from collections.abc import Sequence

from sdedge.errors import DataError

__all__ = ["divide"]

_TEST_SHARE = 0.2


def divide(digests: Sequence[str], seed: int, name: str) -> list[bool]:
    """Whether each image of class `name`, by the digest of its content, is held out.

    Either side gets at least one image. Raises DataError for a class without two different ones.
    """
    places = [_place(digest, seed) for digest in digests]
    lowest, highest = min(places), max(places)
    if lowest == highest:
        copies = "" if len(places) == 1 else f", {len(places)} times over"
        raise DataError(f"class {name} has 1 image{copies}; a split needs at least 2")
    return [place == lowest or (place < _TEST_SHARE and place != highest) for place in places]


def _place(digest: str, seed: int) -> float:
    """A number from 0 to 1 that depends on content and seed alone."""
    hashed = hashlib.sha256(f"{seed}/{digest}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64
