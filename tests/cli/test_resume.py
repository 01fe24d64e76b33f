"""A run killed at any moment resumes to the very result of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from sdedge.loop import MEASURED
from sdedge.run import RunDir

# Runs the command line with one function replaced by a version that kills the process.
KILLER = """
import os, signal, sys
from sdedge.cli.main import main
import {module} as module
original, calls = module.{function}, 0
def deadly(*arguments, **keywords):
    global calls
    calls += 1
    if calls == {call} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **keywords)
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
module.{function} = deadly
sys.argv = ["sdedge", *sys.argv[1:]]
main()
"""

# What dies, at which call, and whether before or after doing its work.
MOMENTS = {
    "before-anything-is-saved": ("sdedge.loop.runner", "seed_step", 1, True),
    "as-the-settings-are-written": ("os", "fsync", 6, True),
    "in-the-first-epoch": ("sdedge.loop.runner", "seed_step", 3, True),
    "while-a-checkpoint-is-written": ("os", "fsync", 9, True),
    "after-a-checkpoint": ("sdedge.loop.position", "write_checkpoint", 2, False),
    "between-log-and-checkpoint": ("sdedge.loop.position", "write_checkpoint", 3, True),
    "in-the-last-epoch": ("sdedge.loop.runner", "seed_step", 8, False),
}

SEARCH = (
    "search",
    "--preset",
    "demo",
    "--channels",
    "4",
    "--cells",
    "3",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--epoch-images",
    "24",
    "--valid-images",
    "8",
    "--image-size",
    "8",
    "--patch-size",
    "4",
    "--checkpoint-seconds",
    "0",
)
TRAIN = (
    "train",
    "--preset",
    "demo",
    "--genotype",
    "DARTS_V1",
    "--channels",
    "4",
    "--cells",
    "2",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--epoch-images",
    "24",
    "--image-size",
    "8",
    "--drop-path",
    "0.2",
    "--checkpoint-seconds",
    "0",
)


def sdedge(*arguments: str | Path, killed: tuple[str, str, int, bool] | None = None) -> int:
    if killed is None:
        program = "from sdedge.cli.main import main; main()"
    else:
        module, function, call, before = killed
        program = KILLER.format(module=module, function=function, call=call, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stderr.write(done.stderr)  # shown by pytest when the test fails
    return done.returncode


def outcome(run: RunDir, phase: str) -> tuple[bytes, dict[str, bytes], list[dict[str, object]]]:
    tensors = load_file(run.checkpoint(phase))
    records = [
        {key: value for key, value in record.items() if key not in MEASURED}
        for record in run.read_metrics(phase)
    ]
    return run.genotype.read_bytes(), {k: v.tobytes() for k, v in tensors.items()}, records


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module", params=[SEARCH, TRAIN], ids=["search", "train"])
def straight(
    request: pytest.FixtureRequest, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[str, ...], RunDir]:
    """A command, and the run it makes when nothing disturbs it."""
    run = RunDir(tmp_path_factory.mktemp("straight"))
    assert sdedge(*request.param, "--data-root", data_root, "--run", run.path) == 0
    return request.param, run


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_and_resume(
    moment: str, straight: tuple[tuple[str, ...], RunDir], data_root: Path, tmp_path: Path
) -> None:
    command, undisturbed = straight
    phase = command[0]
    run = RunDir(tmp_path / "run")
    start = (*command, "--data-root", data_root, "--run", run.path)
    assert sdedge(*start, killed=MOMENTS[moment]) == -signal.SIGKILL
    assert sdedge(phase, "--resume", "--run", run.path) == 0
    assert outcome(run, phase) == outcome(undisturbed, phase)
    assert not list(run.path.glob(".*.safetensors*")) or moment.startswith("while")
    if phase == "train":
        assert run.weights.read_bytes() == undisturbed.weights.read_bytes()


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_130(data_root: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    command = [*SEARCH[:-1], "1000", "--data-root", str(data_root), "--run", str(run.path)]
    program = (
        "import os, signal, sys, sdedge.loop.runner as loop\n"
        "original, calls = loop.seed_step, 0\n"
        "def interrupt(*path):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls == 2: os.kill(os.getpid(), signal.SIGINT)\n"
        "    original(*path)\n"
        "loop.seed_step = interrupt\n"
        "from sdedge.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "--resume" in done.stderr
    assert run.checkpoint("search").exists()


@pytest.mark.slow
def test_a_truncated_checkpoint_is_told_and_left_alone(
    straight: tuple[tuple[str, ...], RunDir], tmp_path: Path
) -> None:
    command, undisturbed = straight
    run = RunDir(tmp_path)
    for file in undisturbed.path.iterdir():
        (run.path / file.name).write_bytes(file.read_bytes())
    checkpoint = run.checkpoint(command[0])
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    done = subprocess.run(
        [sys.executable, "-m", "sdedge", command[0], "--resume", "--run", run.path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert str(checkpoint.name) in "".join(done.stderr.split())
    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before
    assert json.loads(run.config.read_text())
