"""The command at the edges of its process: encodings, widths, full disks, closed pipes, signals."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from sdedge import __version__
from sdedge.cli import output, terminal
from sdedge.cli.main import app

FULL = Path("/dev/full")
posix = pytest.mark.skipif(os.name != "posix", reason="of POSIX alone")


def sdedge(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], io.BytesIO]:
    """Make stdout a stream of an encoding; what is written to it."""

    def replace(encoding: str) -> io.BytesIO:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, "strict"))
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        return written

    # Streams of a test have no descriptors, and the handlers of the test runner stay.
    monkeypatch.setattr(terminal, "_discard", lambda stream: None)
    monkeypatch.setattr(terminal, "_catch_signals", lambda: None)
    return replace


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "3–4 ± 猫 caf\\udce9"),
        ("cp1252", "3–4 ± \\u732b caf\\udce9"),
        ("ascii", "3-4 +- \\u732b caf\\udce9"),
    ],
)
def test_every_encoding_can_show_every_text(
    encoding: str, written: str, streams: Callable[[str], io.BytesIO]
) -> None:
    stream = streams(encoding)
    with pytest.raises(SystemExit):
        terminal.run(lambda: sys.exit(print("3–4 ± 猫 caf\udce9")))  # noqa: T201
    assert stream.getvalue() == (written + "\n").encode(encoding)


@pytest.mark.parametrize(
    "command", [["--help"], ["targets"], ["bench", "--help"], ["genotype", "list"]]
)
def test_an_ascii_terminal_gets_help_and_tables(
    command: list[str],
    streams: Callable[[str], io.BytesIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = streams("ascii")
    monkeypatch.setattr(sys, "argv", ["sdedge", *command])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert ended.value.code == 0
    assert len(stream.getvalue()) > 200
    assert b"\\u" not in stream.getvalue()


@pytest.mark.parametrize("columns", ["0", "1", "-5", "wide", ""])
def test_a_width_of_nothing_is_none(
    columns: str, streams: Callable[[str], io.BytesIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    stream = streams("utf-8")
    monkeypatch.setattr(sys, "argv", ["sdedge", "genotype", "list"])
    with pytest.raises(SystemExit):
        terminal.run(app)
    assert b"DARTS_V1" in stream.getvalue()


def started(*arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sdedge", *arguments]
    given = {"stderr": subprocess.PIPE, "text": True, "check": False, **settings}
    return subprocess.run(command, **given)  # type: ignore[call-overload,no-any-return]


def test_python_m_sdedge() -> None:
    done = started("--version", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sdedge {__version__}\n", "")


@posix
@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [["genotype", "list"], ["genotype", "list", "--json"]])
def test_a_full_disk_behind_stdout(command: list[str]) -> None:
    with FULL.open("w") as full:
        done = started(*command, stdout=full)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@posix
@pytest.mark.parametrize("command", [["genotype", "list"], ["genotype", "list", "--json"]])
def test_a_closed_pipe_is_no_error(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = started(*command, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_with_a_line(name: str) -> None:
    number = getattr(signal, name)
    code = (
        "import os, signal, sys\nfrom sdedge.cli import terminal\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"  # the tests may run under nohup
        "def work():\n"
        f"    try: os.kill(os.getpid(), {int(number)}); sys.exit('went on')\n"
        "    finally: print('cleared away')\n"
        "terminal.run(work)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number
    assert (done.stdout, done.stderr) == ("cleared away\n", f"stopped by {name}\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "a\nb"), r"Error: 'a\nb': Permission denied"),
        (OSError(28, "No space left on device"), "Error: No space left on device, where"),
        (OSError("odd"), "Error: odd"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "bad"), "Error: text is not in the encoding"),
        (RecursionError("x"), "Error: what was read is nested too deeply"),
        (MemoryError(), "Error: memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), "Error: memory ran out"),
        (RuntimeError("CUDA out of memory. Tried"), "Error: memory ran out"),
        (ImportError("libtorch_cpu.so: failed to map segment from"), "Error: memory ran out"),
    ],
)
def test_what_the_machine_refuses_is_a_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.delenv("SDEDGE_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as ended:
        output.guarded(fail)()
    assert ended.value.exit_code == 1
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    monkeypatch.setenv("SDEDGE_DEBUG", "1")
    with pytest.raises(type(error)):
        output.guarded(fail)()


def test_a_bug_stays_a_bug() -> None:
    def fail() -> None:
        raise IndexError("list index out of range")

    with pytest.raises(IndexError) as caught:
        output.guarded(fail)()
    assert caught.value.__notes__ == [output._BUG]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--model", "a.onnx", "--model", "b.onnx"],
        ["search", "--seed", "1", "--epochs", "2", "--seed=1"],
        ["genotype", "count", "DARTS_V1", "--cells", "3", "--cells", "4"],
        ["genotype", "list", "--json", "--json"],
        ["bench", "--profile", "--no-profile"],
        ["targets", "--json", "--json"],
        ["nasbench", "query", "--benchmark-table", "a.csv", "--benchmark-table", "b.csv"],
    ],
)
def test_an_option_is_given_once(arguments: list[str]) -> None:
    result = sdedge(*arguments)
    assert result.exit_code == 2
    assert "given 2 times; give it once" in result.output


def test_settings_may_be_given_more_than_once() -> None:
    result = sdedge("search", "--set", "weight_lr=0", "--set", "alpha_lr=0")
    assert result.exit_code == 1
    assert "given 2 times" not in result.output
    assert sdedge("--help", "--help").exit_code == 0


def test_version_in_every_spelling() -> None:
    for arguments in (["--version"], ["version"]):
        assert sdedge(*arguments).stdout == f"sdedge {__version__}\n"
    assert sdedge("-h").stdout == sdedge("--help").stdout
