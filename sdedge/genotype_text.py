"""Cells as papers, logs and other programs print them, read without running them. No torch.

    2019-03-01 12:00:00,123 genotype = Genotype(normal=[('sep_conv_3x3', 1), ...],
        normal_concat=range(2, 6), reduce=[...], reduce_concat=[2, 3, 4, 5])

The text is Python; it is parsed, never evaluated, and only lists, tuples, names in quotes, whole
numbers and `range` are understood.
"""

import ast
import re
import warnings
from typing import Any

from sdedge.errors import GenotypeError
from sdedge.escape import short

__all__ = ["is_arch", "is_printed", "read_arch", "read_printed"]

# The fields in the order of DARTS' namedtuple, for a call without names.
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_CALL = re.compile(r"\bGenotype\s*\(")
_LONGEST = 10_000  # characters of one cell; a DARTS cell has about 500
_LONGEST_RANGE = 100


def is_printed(text: str) -> bool:
    """Whether `text` holds a cell in the form `Genotype(...)`."""
    return _CALL.search(text) is not None


def is_arch(text: str) -> bool:
    """Whether `text` holds an arch string of NAS-Bench-201, `|op~0|+|op~0|op~1|+...`."""
    return any("~" in word and "|+|" in word for word in text.split())


def read_arch(text: str) -> str:
    """The one arch string in `text`; GenotypeError where there is none, or several."""
    words = (word.strip("'\",;()") for word in text.split())
    found = list(dict.fromkeys(word for word in words if is_arch(word)))
    if len(found) != 1:
        raise GenotypeError(
            f"{len(found)} different arch strings; there must be one, such as "
            "|nor_conv_3x3~0|+|...|...|+|...|...|...|"
        )
    return found[0]


def read_printed(text: str, *, source: str) -> dict[str, Any]:
    """The JSON form of the one cell in `text`.

    Raises GenotypeError, naming `source` and the line, for a call that is cut short or has other
    things in it than a cell, and where there are several different cells.
    """
    seen: set[str] = set()  # calls without their white space
    cells: list[tuple[int, dict[str, Any]]] = []  # with their lines
    line, counted = 1, 0
    for match in _CALL.finditer(text):
        line, counted = line + text.count("\n", counted, match.start()), match.start()
        where = f"{source}, line {line}"
        call = _whole_call(text[match.start() : match.start() + _LONGEST], where)
        if (plain := "".join(call.split())) in seen:
            continue
        seen.add(plain)
        cells.append((line, _read_call(call, where)))
        if cells[-1][1] != cells[0][1]:
            raise GenotypeError(
                f"{source} holds different cells, in line {cells[0][0]} and in line {line}; keep "
                "the one that is meant"
            )
    return cells[0][1]


def _whole_call(text: str, where: str) -> str:
    """`text` up to the parenthesis that closes its first one."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and depth == 0:
            return text[: position + 1]
    raise GenotypeError(f"{where}: Genotype( is not closed; the cell was cut short")


def _read_call(text: str, where: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about the text, which may be anything
            call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise GenotypeError(f"{where}: the cell cannot be read: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):  # NUL bytes; nested too deeply
        raise GenotypeError(f"{where}: the cell cannot be read") from None
    if not isinstance(call, ast.Call):
        raise GenotypeError(f"{where}: {short(text)} is not Genotype(...)")
    named = [*zip(_FIELDS, call.args, strict=False)]
    named += [(keyword.arg or "**", keyword.value) for keyword in call.keywords]
    names = [name for name, _ in named]
    if len(call.args) > len(_FIELDS) or len(set(names)) < len(names):
        raise GenotypeError(f"{where}: a cell has each of {', '.join(_FIELDS)} once")
    if unknown := [name for name in names if name not in (*_FIELDS, "space")]:
        raise GenotypeError(
            f"{where}: {short(unknown[0])} is no part of a cell; choose from {', '.join(_FIELDS)}"
        )
    return {name: _value(node, text, f"{where}: {name}") for name, node in named}


def _value(node: ast.expr, text: str, where: str) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (str, int):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, text, where) for item in node.elts]
    if (numbers := _range(node)) is not None:
        return numbers
    raise GenotypeError(
        f"{where}: {short(ast.get_source_segment(text, node))} is neither a list, a name in "
        "quotes, a whole number nor range(A, B)"
    )


def _range(node: ast.expr) -> list[int] | None:
    """The numbers of `range(...)`; None for anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    ends = [item.value for item in node.args if isinstance(item, ast.Constant)]
    whole = [end for end in ends if type(end) is int]
    if node.func.id != "range" or node.keywords or not len(whole) == len(node.args) in (1, 2):
        return None
    numbers = range(*whole)
    return list(numbers) if numbers.stop - numbers.start <= _LONGEST_RANGE else None
