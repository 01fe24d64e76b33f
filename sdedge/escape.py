"""Text from outside, made safe to show: names of files and classes, metadata of foreign files.

A file name may hold any byte but "/" and NUL, and a class is named by its folder, so either can
carry line breaks, terminal control sequences, or bytes that are no UTF-8.
"""

__all__ = ["printable"]

# os.fsdecode maps a byte that is no UTF-8 to a lone surrogate from here on (PEP 383).
_UNDECODED = 0xDC00


def printable(text: str) -> str:
    r"""`text` on one line, with an escape for whatever a terminal would obey or could not show.

    Letters of all scripts stay as they are; "a\nb" becomes r"a\nb", the byte 0xE9 of a file name
    that is no UTF-8 becomes r"\xe9". The result can always be encoded as UTF-8.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if _UNDECODED + 0x80 <= code <= _UNDECODED + 0xFF:
        return f"\\x{code - _UNDECODED:02x}"
    return character.encode("unicode_escape").decode("ascii")
