"""Text from outside, made safe to show: names of files and classes, metadata of foreign files.

A file name may hold any byte but "/" and NUL, and a class is named by its folder, so either can
carry line breaks, terminal control sequences, or bytes that are no UTF-8. Each function here is
for one place where such text goes; JSON escapes by itself.
"""

import re
import reprlib

__all__ = [
    "latex",
    "markdown",
    "markdown_code",
    "printable",
    "quoted",
    "short",
    "string_literal",
]

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
# os.fsdecode maps a byte that is no UTF-8 to a lone surrogate from here on (PEP 383).
_UNDECODED = 0xDC00
_LONGEST = 160  # characters that a message quotes

# What starts or ends something in CommonMark, in GitHub's tables and in its formulas. Underscores
# do so at the edge of a word alone.
_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        **{character: f"\\{character}" for character in "%_&#${}"},
    }
)


def printable(text: str) -> str:
    r"""`text` on one line, with an escape for whatever a terminal would obey or could not show.

    Letters of all scripts stay as they are; "a\nb" becomes r"a\nb", the byte 0xE9 of a file name
    that is no UTF-8 becomes r"\xe9". The result can always be encoded as UTF-8.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def quoted(text: object) -> str:
    """What someone wrote, in quotes for a message: `printable`, cut in the middle where long."""
    line = printable(str(text))
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]}...{line[-_LONGEST // 4 :]}"
    return f"'{line}'"


def markdown(text: str) -> str:
    """`text` as running text or a table's cell of Markdown, none of it taken for markup."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def markdown_code(text: str) -> str:
    """`text` as inline code of Markdown, in fences longer than any run of backticks in it."""
    line = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def latex(text: str) -> str:
    """`text` as running text of LaTeX; ± is typeset."""
    return printable(text).translate(_LATEX)


def string_literal(text: str) -> str:
    r"""`text` as a string literal that C++ and Python read alike.

    Escapes of three octal digits end where they end in both; "??" would start a trigraph.
    """
    body = "".join(map(_in_literal, text)).replace("??", r"?\077")
    return f'"{body}"'


def short(value: object) -> str:
    """The repr of a value from outside: on one line, cut where it is long, wide or deep."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python prints no number of over 4,300 digits
        return f"a {type(value).__name__} of thousands of digits"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if _UNDECODED + 0x80 <= code <= _UNDECODED + 0xFF:
        return f"\\x{code - _UNDECODED:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _in_literal(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\{code:03o}"
    if 0xD800 <= code < 0xE000:  # half a character: neither language has a form for it
        return printable(character).replace("\\", r"\\")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
