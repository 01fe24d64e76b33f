"""The run directory: writes that are whole or not at all, and what is read back from it."""

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdedge.errors import RunError
from sdedge.files import write_atomic, write_json
from sdedge.lock import LOCK_FILE
from sdedge.run import RunDir, read_json


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create("search", tmp_path / "run")


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: the kernel ends a write in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "config.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == {"config.json"}
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "config.json"
    write_atomic(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, no_space)
        with pytest.raises(RunError, match="No space left on device") as caught:
            write_atomic(path, b"new")
    assert str(path) in str(caught.value)
    assert "--run" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"config.json"}


def test_a_write_that_ends_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_atomic(path, b"old")
    with full_after(1000), pytest.raises(RunError, match="cannot write"):
        write_atomic(path, bytes(50_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"weights.safetensors"}


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "weights.safetensors", b"new")
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "use",
    [
        lambda file: write_atomic(file / "config.json", b""),
        lambda file: RunDir.create("search", file),
        lambda file: RunDir.create("search", root=file),
    ],
    ids=["write", "create", "root"],
)
def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, use: Callable[[Path], object]) -> None:
    file = tmp_path / "file"
    file.write_text("here first")
    with pytest.raises(RunError, match="cannot write") as caught:
        use(file)
    assert str(file) in str(caught.value)
    assert file.read_text() == "here first"


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"epochs": 50, "betas": [0.5, 0.999], "name": "größer"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"epochs": 5', "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"9" * 10_000, "not valid JSON: Exceeds the limit"),
        (b"[1]", r"it is \[1\]; it must be an object"),
    ],
    ids=["cut", "empty", "binary", "lists", "deep", "digits", "list"],
)
def test_damaged_json_is_named(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=named) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone\.json does not exist"):
        read_json(tmp_path / "gone.json")


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    runs = {RunDir.create("search", root=tmp_path).path for _ in range(4)}
    assert len(runs) == 4
    assert names(tmp_path) == {path.name for path in runs}


def test_open_takes_the_newest_run(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "a", "b"]):
        run = RunDir.create("search", tmp_path / name)
        run.record_phase("search", {}, {})
        os.utime(run.config, (1e9 - age, 1e9 - age))
    RunDir.create("empty", tmp_path / "z")
    assert RunDir.open(root=tmp_path).path == tmp_path / "c"
    assert RunDir.open(tmp_path / "b").path == tmp_path / "b"


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photos", tmp_path / "gone"):
        with pytest.raises(RunError, match="is not a run directory") as caught:
            RunDir.open(path)
        assert str(path) in str(caught.value)
    for root in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RunError, match="sdedge search") as caught:
            RunDir.open(root=root)
        assert str(root) in str(caught.value)


def test_a_phase_is_recorded_beside_the_others(run: RunDir) -> None:
    run.record_phase("search", {"epochs": 50}, {"device": "cuda"})
    run.record_phase("train", {"epochs": 600}, {"device": "cpu"})
    run.record_phase("train", {"epochs": 20}, {"device": "cpu"})
    assert run.phases() == {"search": {"epochs": 50}, "train": {"epochs": 20}}
    assert run.settings("search") == {"epochs": 50}
    assert read_json(run.path / "environment.json") == {
        "search": {"device": "cuda"},
        "train": {"device": "cpu"},
    }


@pytest.mark.parametrize("section", [5, [1], None, "paper", True])
def test_a_section_of_the_config_that_is_no_object_is_named(run: RunDir, section: object) -> None:
    write_json(run.config, {"search": section})
    for read in (run.phases, lambda: run.settings("search")):
        with pytest.raises(RunError, match=r"config\.json: search is .*; it must be an object"):
            read()


def test_settings_of_a_phase_that_never_ran_say_what_did(run: RunDir) -> None:
    with pytest.raises(RunError, match=r"holds no train yet \(it has: nothing\)"):
        run.settings("train")
    run.record_phase("search", {}, {})
    with pytest.raises(RunError, match=r"\(it has: search\); start one with `sdedge train`"):
        run.settings("train")


def records(phase: str, count: int) -> list[dict[str, Any]]:
    return [{"phase": phase, "epoch": epoch + 1} for epoch in range(count)]


def test_metrics_come_back_by_phase_in_order(run: RunDir) -> None:
    assert run.read_metrics("search") == []
    for first, second in zip(records("search", 3), records("train", 3), strict=True):
        run.append_metrics(first)
        run.append_metrics(second)
    assert run.read_metrics("search") == records("search", 3)
    assert run.read_metrics("train") == records("train", 3)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_rewinding_drops_later_records_of_one_phase(run: RunDir, keep: int) -> None:
    for record in [*records("search", 2), *records("train", 3)]:
        run.append_metrics(record)
    run.rewind_metrics("train", keep)
    assert run.read_metrics("search") == records("search", 2)
    assert run.read_metrics("train") == records("train", keep)


def test_a_last_line_cut_short_is_left_out_and_then_removed(run: RunDir) -> None:
    for record in records("search", 2):
        run.append_metrics(record)
    run.metrics.write_bytes(run.metrics.read_bytes()[:-4])
    assert run.read_metrics("search") == records("search", 1)
    run.rewind_metrics("search", 1)
    run.append_metrics(records("search", 2)[1])
    assert run.read_metrics("search") == records("search", 2)


def test_metrics_that_do_not_fit_on_the_disk_are_an_error_that_a_rewind_repairs(
    run: RunDir,
) -> None:
    run.append_metrics(records("search", 1)[0])
    with full_after(run.metrics.stat().st_size + 5), pytest.raises(RunError, match="cannot write"):
        run.append_metrics({"phase": "search", "epoch": 2})
    run.rewind_metrics("search", 1)
    assert run.read_metrics("search") == records("search", 1)


@pytest.mark.parametrize(
    "line",
    [
        b'{"phase": "search", \n',
        b"{}\n",
        b"7\n",
        b"\xff\xfe\n",
        b'{"phase": ["search"], "epoch": 1}\n',
        b'{"phase": "search", "epoch": "1"}\n',
        b'{"phase": "search", "epoch": 1, "valid_loss": NaN}\n',
    ],
    ids=["cut", "nameless", "number", "binary", "list", "text", "nan"],
)
def test_damaged_metrics_are_named(run: RunDir, line: bytes) -> None:
    run.metrics.write_bytes(line + json.dumps(records("search", 1)[0]).encode() + b"\n")
    for read in (
        lambda: run.read_metrics("search"),
        lambda: run.rewind_metrics("search", 0),
    ):
        with pytest.raises(RunError, match="damaged") as caught:
            read()
        assert str(run.metrics) in str(caught.value)


def test_a_folder_of_other_files_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(RunError, match="holds other files"):
        RunDir.create("x", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["cat.jpg"]


def test_a_run_that_died_as_it_began_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    assert RunDir.create("x", tmp_path).path == tmp_path


def test_a_missing_file_names_the_command_that_makes_it(run: RunDir) -> None:
    with pytest.raises(RunError, match=f"`sdedge train --run {run.path}`"):
        run.require(run.weights, "train")
    run.record_phase("train", {}, {})
    with pytest.raises(RunError, match=f"`sdedge train --resume --run {run.path}`"):
        run.require(run.weights, "train")


@pytest.mark.parametrize("name", [LOCK_FILE, ".environment.json.0a1b2c3d.sdedge-part"])
def test_what_a_killed_process_leaves_makes_no_folder_foreign(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert RunDir.create("x", tmp_path).path == tmp_path
    with pytest.raises(RunError, match="give that again, without --resume"):
        RunDir.open(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(RunError, match="holds other files"):
        RunDir.create("x", tmp_path)


def test_a_phase_that_begins_forgets_what_an_earlier_one_would_resume_from(run: RunDir) -> None:
    run.checkpoint("search").write_bytes(b"earlier")
    run.begin_phase("search", {"seed": 1}, {})
    assert not run.checkpoint("search").exists()
    assert run.settings("search") == {"seed": 1}


def test_a_record_that_is_no_number_is_not_logged(run: RunDir) -> None:
    with pytest.raises(RunError, match=r"metrics\.jsonl: budget\.ram is nan"):
        run.append_metrics({"phase": "search", "budget": {"ram": float("nan")}})
    assert not run.metrics.exists()
