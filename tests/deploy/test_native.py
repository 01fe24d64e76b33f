"""Native code on hostile files: the process that it runs in may die, this one does not."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import helper

from factories.onnx_models import CONV, classifier, integers
from sdedge.deploy.formats.onnx.reader import contained
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.formats.onnx.reader.native import NativeError, perform
from sdedge.errors import ExportError

MODEL = classifier([CONV[0]], [CONV[1]], shape=(1, 3, 8, 8)).SerializeToString()


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(contained, "_worker", None)
    yield
    if contained._worker is not None:
        contained._worker.close()


def process() -> int:
    """The number of the process that serves."""
    contained.run("checked", MODEL)
    assert contained._worker is not None
    return contained._worker._process.pid


def test_it_answers_as_this_process_does() -> None:
    for task, *more in (("checked",), ("inferred",), ("shapes_of_a_run", b"")):
        assert contained.run(task, MODEL, *more) == perform(task, MODEL, *more)


def test_refusals_have_their_reason_and_end_nothing() -> None:
    before = process()
    for run in (contained.run, perform):
        with pytest.raises(NativeError, match=r"parse|ir_version"):
            run("checked", b"\x08")
    assert process() == before


def test_after_a_death_the_next_file_is_read() -> None:
    before = process()
    os.kill(before, signal.SIGSEGV)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert process() != before


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("os.kill(os.getpid(), 11)", "by signal 11"),
        ("sys.exit(3)", "with exit code 3"),
        ("print('{}'[:1], end='')", "with exit code 0"),
        ("print('no answer')", "no answer of its own"),
    ],
)
def test_a_death_at_work_is_told_with_the_file(
    end: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, file = tmp_path / "dies.py", tmp_path / "hostile.onnx"
    script.write_text(f"import os, sys\nsys.stdin.buffer.readline()\n{end}\n")
    file.write_bytes(MODEL)
    monkeypatch.setattr(contained, "_SCRIPT", script)
    with pytest.raises(ExportError, match=rf"hostile\.onnx.*the runtime died on it.*{told}"):
        read_graph(file)


def test_an_endless_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process()
    os.kill(before, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(contained, "SECONDS", 0.0)
        with pytest.raises(NativeError, match="busy for more than 0 s"):
            contained.run("checked", MODEL)
    assert process() != before


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # A gigabyte of zeros that a tiny file asks for.
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0),
        helper.make_node("Conv", ["image", "stem"], ["a"], pads=[1] * 4),
        helper.make_node("Add", ["a", "one"], ["features"]),
    ]
    shape = integers("shape", 2**28)
    model = classifier(nodes, [CONV[1], shape], shape=(1, 3, 8, 8)).SerializeToString()
    monkeypatch.setattr(contained, "MEMORY_BYTES", 2**29)
    with pytest.raises(NativeError, match=r"memory|alloc|died"):
        contained.run("shapes_of_a_run", model, b"")
    assert contained.run("checked", MODEL) == perform("checked", MODEL)


def test_an_interrupted_request_leaves_no_answer_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = process()
    with monkeypatch.context() as patch:
        patch.setattr(contained.select, "select", interrupted)
        with pytest.raises(KeyboardInterrupt):
            contained.run("inferred", MODEL)
    assert contained.run("checked", MODEL) == perform("checked", MODEL)
    assert process() != before
