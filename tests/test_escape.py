"""Names from outside cannot break a line, command a terminal, or fail to be encoded."""

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sdedge.escape import (
    latex,
    markdown,
    markdown_code,
    printable,
    quoted,
    string_literal,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("Straße 猫 🐈", "Straße 猫 🐈"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("a\u2028b", r"a\u2028b"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("nul\0", r"nul\x00"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode().decode() == shown


def test_a_long_quotation_keeps_both_ends() -> None:
    text = "a" * 500 + "\n" + "z" * 500
    assert quoted(text) == "'" + "a" * 80 + "..." + "z" * 40 + "'"
    assert quoted("short\n") == r"'short\n'"
    assert quoted("") == "''"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("sep_conv_3x3", "sep_conv_3x3"),
        ("a|b", r"a\|b"),
        ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
        ("[x](http://a) <b> &amp; $x$ ~~y~~", r"\[x\](http://a) \<b\> \&amp; \$x\$ \~\~y\~\~"),
        ("a\\|b", r"a\\\|b"),
        ("a\n# b", r"a\\n# b"),
    ],
)
def test_markdown(text: str, written: str) -> None:
    assert markdown(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [("a.onnx", "`a.onnx`"), ("a`b``c", "```a`b``c```"), ("`a", "`` `a ``"), ("a\nb", r"`a\nb`")],
)
def test_markdown_code(text: str, written: str) -> None:
    assert markdown_code(text) == written


def test_latex() -> None:
    assert latex("50% a_b & ±1 #{x}$\\~^\n") == (
        r"50\% a\_b \& $\pm$1 \#\{x\}\$\textbackslash{}\textasciitilde{}\textasciicircum{}"
        r"\textbackslash{}n"
    )


EVERY_KIND = "a\"b\\c\n\r\t\x00\x1b1\x7f\x85\u2028\u202e\U000e0001 ??/ ???= 'é猫🐈 {x} %s\x0712"


def test_a_string_literal_is_what_python_reads() -> None:
    literal = string_literal(EVERY_KIND)
    assert literal.isprintable()
    assert "??" not in literal
    assert ast.literal_eval(literal) == EVERY_KIND
    assert ast.literal_eval(string_literal(os.fsdecode(b"caf\xe9"))) == r"caf\xe9"


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_string_literal_is_what_cpp_reads(tmp_path: Path) -> None:
    source = tmp_path / "a.cpp"
    source.write_text(
        f"#include <cstdio>\nconst char text[] = {string_literal(EVERY_KIND)};\n"
        "int main() { fwrite(text, 1, sizeof text - 1, stdout); }\n",
        encoding="utf-8",
    )
    program = tmp_path / "a.out"
    subprocess.run(["c++", "-std=c++11", source, "-o", program], check=True)
    assert subprocess.run([program], capture_output=True, check=True).stdout == EVERY_KIND.encode()
