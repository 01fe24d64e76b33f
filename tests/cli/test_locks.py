"""Every command that writes into a run directory holds it; those that read do not ask."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdedge.cli.main import app
from sdedge.genotype import published
from sdedge.run import RunDir

WRITERS = {
    "search": ("search", "--preset", "demo"),
    "search --resume": ("search", "--resume"),
    "train": ("train", "--preset", "demo"),
    "train --genotype": ("train", "--preset", "demo", "--genotype", "DARTS_V1"),
    "train --resume": ("train", "--resume"),
    "export": ("export",),
    "bench": ("bench",),
    "bench --target": ("bench", "--target", "jetson-nano-cpu"),
    "bundle": ("bundle",),
    "demo": ("demo",),
    "compare": ("compare", "--preset", "demo", "--strategies", "darts"),
    "compare --resume": ("compare", "--resume"),
}


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[RunDir]:
    """A run that somebody is writing into."""
    run = RunDir.create("x", tmp_path / "run")
    run.genotype.write_text(published()["DARTS_V1"].genotype.to_json())
    run.record_phase("search", {}, {})
    run.onnx.write_bytes(b"")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with run.lock():
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield run
    over.set()
    thread.join()


@pytest.mark.parametrize("command", WRITERS)
def test_a_command_that_writes_is_refused_and_names_the_holder(busy: RunDir, command: str) -> None:
    if command.startswith("compare"):
        busy.config.unlink()
    before = {file.name: file.read_bytes() for file in busy.path.iterdir()}
    result = CliRunner().invoke(app, [*WRITERS[command], "--run", str(busy.path), "--json"])
    assert result.exit_code == 1, result.output
    assert f"{busy.path} is in use by process {os.getpid()}" in result.stderr
    assert "Wait until that ends" in result.stderr
    assert result.stdout == ""
    assert {file.name: file.read_bytes() for file in busy.path.iterdir()} == before


def test_a_command_that_reads_needs_no_lock(busy: RunDir) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in busy.path.iterdir()}
    result = CliRunner().invoke(app, ["genotype", "show", str(busy.path)])
    assert result.exit_code == 0, result.output
    assert {file.name: file.stat().st_mtime_ns for file in busy.path.iterdir()} == before
