"""Changes to sound files of the kinds that damage and malice make; each follows from its seed."""

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["mutated"]

_HEADER = 64  # bytes in which half of the changes fall: most decisions are taken there
_MAX_LENGTH = 2**20
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0xFFFF_FFFF_FFFF_FFFF,
)
_TEXTS = (
    b"0", b"-1", b"1e999", b"-0.0", b"NaN", b"Infinity", b"9" * 400, b"null", b"true", b'""',
    b"[]", b"{}", b"[" * 1100, b'"\\ud800"', b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b",",
)  # fmt: skip
_TOKEN = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\"[^\"\n]*\"|true|false|null")


def mutated(originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of `originals` with one to three changes, at most 1 MiB long."""
    data = originals[rng.integers(len(originals))]
    for _ in range(rng.integers(1, 4)):
        change = _CHANGES[rng.integers(len(_CHANGES))]
        data = change(data, originals, rng)[:_MAX_LENGTH]
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    """A position in `data`, in its header as often as anywhere."""
    span = len(data) if rng.random() < 0.5 else min(len(data), _HEADER)
    return int(rng.integers(span + 1))


def _flip_bits(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _turn in range(rng.integers(1, 9)):
        if place := _place(data, rng):
            changed[place - 1] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _set_bytes(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _turn in range(rng.integers(1, 9)):
        if place := _place(data, rng):
            changed[place - 1] = int(rng.integers(256))
    return bytes(changed)


def _truncate(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 65)) :]


def _insert(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.bytes(int(rng.integers(1, 65))) + data[start:]


def _duplicate(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Repeat a chunk, a few times or very often."""
    start = _place(data, rng)
    chunk = data[start : start + int(rng.integers(1, 257))]
    return data[:start] + chunk * int(rng.choice([2, 3, 1000])) + data[start + len(chunk) :]


def _splice(data: bytes, originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """The start of one file and the end of another."""
    other = originals[rng.integers(len(originals))]
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _set_number(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A binary integer at the edge of its range, in either byte order."""
    width = int(rng.choice([1, 2, 4, 8]))
    value = _NUMBERS[rng.integers(len(_NUMBERS))] & (256**width - 1)
    order = "little" if rng.random() < 0.5 else "big"
    start = _place(data, rng)
    return data[:start] + value.to_bytes(width, order) + data[start + width :]


def _set_text(data: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Another value for a number, a string or a word of a text file."""
    tokens = list(_TOKEN.finditer(data[:_MAX_LENGTH]))
    text = _TEXTS[rng.integers(len(_TEXTS))]
    if not tokens:
        place = _place(data, rng)
        return data[:place] + text + data[place:]
    token = tokens[rng.integers(len(tokens))]
    return data[: token.start()] + text + data[token.end() :]


_CHANGES = (
    _flip_bits,
    _set_bytes,
    _truncate,
    _remove,
    _insert,
    _duplicate,
    _splice,
    _set_number,
    _set_text,
)
