"""Text from outside reaches the terminal as text: no markup, no control sequence, no error."""

import io
from pathlib import Path

import pytest
import typer

from sdedge.cli import output
from sdedge.errors import ConfigError

ROOT = Path(__file__).parents[2]
EVIL = "\x1b[31mred\x1b]0;title\x07 [bold]b[/bold] [/nope] :cat: a\nb\\ caf\udce9"
SHOWN = r"\x1b[31mred\x1b]0;title\x07 [bold]b[/bold] [/nope] :cat: a\nb\ caf\xe9"


def printed(*lines: object) -> str:
    stream = io.StringIO()
    out = output.console()
    out.file, out.width = stream, 200
    for line in lines:
        out.print(line)
    return stream.getvalue()


def test_shown_is_the_text_and_nothing_else() -> None:
    assert printed(f"[dim]{output.shown(EVIL)}[/dim]!") == SHOWN + "!\n"


@pytest.mark.parametrize("text", ["\\", "a\\[b]", "[", "[bold", "]", "[[a]]", "\\\\[bold]", ""])
def test_brackets_and_backslashes(text: str) -> None:
    assert printed(f"[bold]{output.shown(text)}[/bold].") == text + ".\n"


def test_every_part_of_a_table_is_text() -> None:
    text = printed(output.table(EVIL, (EVIL, "x"), [(EVIL, 1)]))
    assert text.count(SHOWN) == 3


def test_an_error_may_quote_anything(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConfigError(f"first line: {EVIL}\nsecond [red]line[/red]")

    with pytest.raises(typer.Exit):
        output.guarded(fail)()
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.isascii()
    assert said.endswith("b\\ caf\\xe9\nsecond [red]line[/red]\n")


def test_paths_on_the_command_line_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    def command(path: Path, name: str) -> None:
        print(path == Path.home() / "x", name)  # noqa: T201

    output.guarded(command)(path=Path("~/x"), name="~")
    assert capsys.readouterr().out == "True ~\n"
    with pytest.raises(typer.Exit):
        output.guarded(command)(path=Path("~no-such-user"), name="")
    assert "there is no such user" in capsys.readouterr().err


def test_commands_escape_by_shown_alone() -> None:
    files = [file for file in (ROOT / "cli").glob("*.py") if file.name != "output.py"]
    assert len(files) > 15
    assert not [file.name for file in files if "rich.markup" in file.read_text(encoding="utf-8")]
