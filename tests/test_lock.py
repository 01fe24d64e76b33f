"""One process at a time in a run directory, whoever it is and however it ends."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdedge.errors import RunError
from sdedge.lock import LOCK_FILE, lock_folder, lock_if_there
from sdedge.run import RunDir

# Takes the lock, says so, and holds it until its input ends.
HOLDER = """
import sys
from pathlib import Path
from sdedge.lock import lock_folder
sys.argv = ["/usr/bin/sdedge", "search", "--run", "the run"]
with lock_folder(Path(sys.stdin.readline().strip())):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `folder`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        with pytest.raises(RunError) as caught, lock_folder(tmp_path):
            pass
        told = str(caught.value)
        assert f"{tmp_path} is in use by process {process.pid}" in told
        assert "(sdedge search --run 'the run') since 20" in told
        assert f"kill {process.pid}" in told
        assert "--run" in told
        assert LOCK_FILE in names(tmp_path)
    with lock_folder(tmp_path):
        pass
    assert names(tmp_path) == set()


def test_a_holder_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert names(tmp_path) == {LOCK_FILE}
        with lock_folder(tmp_path):
            assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert names(tmp_path) == set()


def test_a_holder_on_another_machine_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = {"pid": 7, "host": "node\x1b[31m3", "command": "sdedge train", "since": "noon"}

    def taken(descriptor: int, operation: int) -> None:
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        raise OSError(errno.EAGAIN, "")

    monkeypatch.setattr(fcntl, "flock", taken)
    with pytest.raises(RunError) as caught, lock_folder(tmp_path):
        pass
    assert r"process 7 on node\x1b[31m3 (sdedge train) since noon" in str(caught.value)
    assert "kill" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"pid": "x"}', b"\xff"])
def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path, content: bytes) -> None:
    with lock_folder(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(content)
        refused = refusal_in_another_thread(tmp_path)
    assert "in use by another process" in refused


def refusal_in_another_thread(folder: Path) -> str:
    told: list[str] = []

    def take() -> None:
        try:
            with lock_folder(folder):
                told.append("")
        except RunError as error:
            told.append(str(error))

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return told[0]


def test_a_thread_may_take_its_lock_again_and_another_may_not(tmp_path: Path) -> None:
    link = tmp_path / "link"
    run = RunDir.create("x", tmp_path / "run")
    link.symlink_to(run.path)
    with run.lock():
        with lock_folder(link):
            pass
        assert f"in use by process {os.getpid()}" in refusal_in_another_thread(link)
    assert refusal_in_another_thread(run.path) == ""


def test_a_lock_that_was_removed_as_it_was_opened_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process releases between this one's open and flock."""
    flock, calls = fcntl.flock, 0

    def late(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / LOCK_FILE).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock_folder(tmp_path):
        assert calls == 2
        assert "in use" in refusal_in_another_thread(tmp_path)


def test_where_there_are_no_locks_the_work_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.warns(RuntimeWarning, match="has no locks"), lock_folder(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    ours = {".genotype.json.0a1b2c3d.sdedge-part", ".metrics.jsonl.ffffffff.sdedge-part"}
    others = {"genotype.json", ".genotype.json.swp", ".hidden", "sdedge-part", "x.sdedge-part"}
    for name in ours | others:
        (tmp_path / name).write_bytes(b"")
    with other_process(tmp_path):  # which cleared them when it began
        half = tmp_path / ".metrics.jsonl.12345678.sdedge-part"
        half.write_bytes(b"being written by it")
        with pytest.raises(RunError), lock_folder(tmp_path):
            pass
        assert half.exists()
    with lock_folder(tmp_path):
        assert names(tmp_path) == others | {LOCK_FILE}


def test_a_folder_that_is_not_there_yet_is_not_locked(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "new"):
        with lock_if_there(folder):
            assert names(tmp_path) == set()
    with lock_if_there(tmp_path):
        assert names(tmp_path) == {LOCK_FILE}
