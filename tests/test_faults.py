"""Every system call of a write fails, or is the last of its process, in turn."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from factories.phases import Recorder, Toy
from sdedge.errors import RunError
from sdedge.files import is_temporary, write_atomic, write_json, write_together
from sdedge.lock import LOCK_FILE
from sdedge.loop import MEASURED, run_phase
from sdedge.run import RunDir

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "mkdir", "truncate", "ftruncate")
ERRORS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO)


@pytest.fixture(autouse=True)
def _no_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Killed(BaseException):
    """Stands for the end of the process."""


class Disk:
    """Counts the calls below a folder that change it, and lets one of them fail or be the last."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.calls: list[str] = []
        self.failing: tuple[int, int] | None = None  # which call, with which error
        self.deadly: tuple[int, bool] | None = None  # which call, and whether it is still done
        self._dead = False
        self._open: set[int] = set()

    def _ours(self, target: Any) -> bool:
        return target in self._open if isinstance(target, int) else self.root in os.fspath(target)

    def call(self, name: str, real: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if not self._ours(arguments[0]):
            return real(*arguments, **keywords)
        if self._dead:
            raise Killed
        self.calls.append(name)
        number = len(self.calls) - 1
        half = name == "write" and (arguments[0], arguments[1][: len(arguments[1]) // 2])
        if self.failing and self.failing[0] == number:
            if name == "close":
                real(*arguments)
                self._open.discard(arguments[0])
            elif half:
                real(*half)
            raise OSError(self.failing[1], os.strerror(self.failing[1]))
        if self.deadly and self.deadly[0] == number:
            self._dead = True
            if self.deadly[1]:
                self._done(name, real(*arguments, **keywords), arguments)
            elif half:
                real(*half)
            raise Killed
        return self._done(name, real(*arguments, **keywords), arguments)

    def _done(self, name: str, result: Any, arguments: tuple[Any, ...]) -> Any:
        if name == "open":
            self._open.add(result)
        elif name == "close":
            self._open.discard(arguments[0])
        return result

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within, this disk is what the system shows; descriptors are closed at the end."""
        with pytest.MonkeyPatch.context() as patch:
            for module, name in [*((os, name) for name in CALLS), (fcntl, "flock")]:
                real = getattr(module, name)
                patch.setattr(
                    module, name, lambda *a, _n=name, _r=real, **k: self.call(_n, _r, *a, **k)
                )
            yield
        for descriptor in self._open:
            os.close(descriptor)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def locked(run: RunDir) -> None:
    with run.lock():
        write_json(run.path / "bench.json", {})


NEW = {"model.onnx": b"new", "model.int8.onnx": b"new int8", "export.json": b"new {}"}
OLD = {"model.onnx": b"old", "model.int8.onnx": b"old int8", "export.json": b"old {}"}
DEPENDENT = ("export.json", "model.int8.onnx")


def exchange(run: RunDir) -> None:
    files = {run.path / name: data for name, data in NEW.items()}
    write_together(files, outdated=[run.path / name for name in DEPENDENT])


WRITES: dict[str, Callable[[RunDir], object]] = {
    "a file": lambda run: write_atomic(run.onnx, bytes(1000)),
    "a file in a new folder": lambda run: write_json(run.path / "a" / "b" / "c.json", {}),
    "a line": lambda run: run.append_metrics({"phase": "search"}),
    "a phase": lambda run: run.begin_phase("search", {"seed": 1}, {"device": "cpu"}),
    "a folder": lambda run: RunDir.create("x", run.path / "more" / "run"),
    "a dated folder": lambda run: RunDir.create("x", root=run.path / "runs"),
    "under a lock": locked,
    "an exchange": exchange,
}


def a_run(path: Path) -> RunDir:
    run = RunDir.create("x", path)
    for name, data in OLD.items():
        write_atomic(run.path / name, data)
    run.append_metrics({"phase": "train"})
    run.checkpoint("search").write_bytes(b"of an earlier search")
    return run


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[error] for error in ERRORS])
def test_every_call_that_fails_is_told_and_breaks_nothing(
    tmp_path: Path, write: str, error: int
) -> None:
    undisturbed, disk = a_run(tmp_path / "undisturbed"), Disk(tmp_path)
    with disk.watched():
        WRITES[write](undisturbed)
    assert disk.calls
    for number, call in enumerate(disk.calls):
        run = a_run(tmp_path / f"{number}-{call}")
        before, failing = contents(run.path), Disk(run.path)
        if write == "a phase":  # it goes before anything is written
            before.pop(run.checkpoint("search").name)
        failing.failing = (number, error)
        told = ""
        with failing.watched():
            try:
                WRITES[write](run)
            except RunError as reason:
                told = str(reason)
        after = contents(run.path)
        assert failing.calls[number] == call
        assert not any(is_temporary(Path(name).name) for name in after), (call, after)
        if not told:  # the folder is there all the same, or the next one takes the lock over
            assert call == "mkdir" or failing.calls[number:] in (["unlink", "close"], ["close"])
            after.pop(LOCK_FILE, None)
            assert after == contents(undisturbed.path)
            continue
        assert os.strerror(error) in told
        assert str(run.path) in told
        assert "another folder with --run" in told
        assert ("Free some space" in told) == (error == errno.ENOSPC)
        if "what was there is unchanged" in told:
            assert after.items() >= before.items()
        elif "some files there are gone" in told:
            assert consistent(after)
        else:
            assert "the file is there" in told
            assert set(before) <= set(after)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    """As root, a rename over /dev/null would put an end to it, for every program."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    before = sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir())
    path, other = tmp_path / name, tmp_path / "other"
    for write in (
        lambda: write_atomic(path, b"new"),
        lambda: write_together({other: b"new", path: b"new"}),
        lambda: write_together({other: b"new"}, outdated=[path]),
    ):
        with pytest.raises(RunError, match=rf"{name}: it is a .*Give the name of a file"):
            write()
        assert before == sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir())


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    for data in (b"first", b"second"):
        write_atomic(tmp_path / "link", data)
        assert (tmp_path / "real/file").read_bytes() == data
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "real"]


def consistent(files: dict[str, bytes]) -> bool:
    """Whether the files of an export are of one export, the fp32 one among them."""
    there = {name: files[name] for name in OLD if name in files}
    kinds = (OLD, NEW)
    return "model.onnx" in there and any(there.items() <= kind.items() for kind in kinds)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_kill_at_any_call_of_an_exchange_leaves_files_of_one_export(
    tmp_path: Path, done: bool
) -> None:
    undisturbed, disk = a_run(tmp_path / "undisturbed"), Disk(tmp_path)
    with disk.watched():
        exchange(undisturbed)
    for number in range(len(disk.calls)):
        run = a_run(tmp_path / f"{number}")
        dying = Disk(run.path)
        dying.deadly = (number, done)
        with dying.watched(), pytest.raises(Killed):
            exchange(run)
        assert consistent(contents(run.path))
        with run.lock():
            exchange(run)
        after = contents(run.path)
        assert after.items() >= NEW.items()
        assert not any(map(is_temporary, after))


def work(path: Path) -> None:
    """A command that is given again until it succeeds, with --resume where there are settings."""
    run = RunDir.create("toy", path)
    with run.lock():
        resume = "toy" in run.phases()
        if not resume:
            run.begin_phase("toy", {"seed": 2}, {})
        phase = Toy()
        run_phase(phase, run, Recorder(), resume=resume, checkpoint_seconds=0)
        write_atomic(run.genotype, phase.weights.numpy().tobytes())


def outcome(path: Path) -> tuple[Any, ...]:
    run = RunDir(path)
    return (
        {file.name for file in path.iterdir()},
        run.genotype.read_bytes(),
        {name: tensor.tobytes() for name, tensor in load_file(run.checkpoint("toy")).items()},
        [
            {name: value for name, value in record.items() if name not in MEASURED}
            for record in run.read_metrics("toy")
        ],
    )


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_run_that_is_killed_at_any_call_ends_as_one_that_was_not(
    tmp_path: Path, done: bool
) -> None:
    straight, disk = tmp_path / "straight", Disk(tmp_path)
    with disk.watched():
        work(straight)
    assert len(disk.calls) > 100
    for number in range(len(disk.calls)):
        path = tmp_path / f"{number}"
        dying = Disk(path)
        dying.deadly = (number, done)
        with dying.watched(), pytest.raises(Killed):
            work(path)
        work(path)
        assert outcome(path) == outcome(straight), f"killed at call {number}, {disk.calls[number]}"
