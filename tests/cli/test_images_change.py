"""Image folders that move, grow or change between the commands of a run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sdedge.cli.main import app
from sdedge.data.shapes import draw
from sdedge.run import RunDir

TINY = ("--channels", "4", "--batch-size", "8", "--image-size", "16", "--epochs", "2")
Invoke = Callable[..., Result]


@pytest.fixture
def sdedge(tmp_path: Path) -> Invoke:
    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--json"])

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, in folders whose names are no text a card or table could hold."""
    root = tmp_path / "images"
    for index in range(90):
        _draw(root, index)
    return root


def _draw(root: Path, index: int) -> None:
    target = root / ("two\nlines", "pipe|`", "caf\udce9")[index % 3] / f"{index}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(0, "train", index, 16).image).save(target)


@pytest.fixture
def trained(sdedge: Invoke, folder: Path, tmp_path: Path) -> RunDir:
    run = tmp_path / "run"
    result = sdedge(
        *("train", "--preset", "demo", "--genotype", "DARTS_V1", "--cells", "2", *TINY),
        *("--dataset", folder, "--data-root", tmp_path / "data", "--run", run),
    )
    assert result.exit_code == 0, result.output
    return RunDir(run)


def _value(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


@pytest.mark.slow
def test_images_added_before_the_export_leak_nothing(
    sdedge: Invoke, folder: Path, trained: RunDir
) -> None:
    seen = set(json.loads(trained.images("train").read_text())["contents"]["train"])
    for index in range(90, 150):
        _draw(folder, index)
    result = sdedge("export", "--run", trained.path)
    value = _value(result)
    note = "images has changed since the training (60 images more, 0 fewer); none of its test"
    assert note in result.stderr
    card = (trained.path / "model-card.md").read_text()
    assert "60 images more, 0 fewer" in card
    assert "which took no part in training" not in card
    assert value["images"] > 10
    assert len(seen) + value["images"] < 150
    assert "| two" in card
    assert "two\nlines" not in card  # it would break the table


@pytest.mark.slow
def test_an_export_on_images_that_were_trained_on_is_refused(
    sdedge: Invoke, folder: Path, trained: RunDir, tmp_path: Path
) -> None:
    """The same images sorted into splits by hand, after the training."""
    sorted_anew = tmp_path / "sorted"
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        target = sorted_anew / ("test" if number % 2 else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for command in (("export",), ("bundle",)):
        if command == ("bundle",):
            _value(sdedge("export", "--run", trained.path))
        before = {path.name: path.read_bytes() for path in trained.path.iterdir()}
        result = sdedge(*command, "--run", trained.path, "--dataset", sorted_anew)
        assert result.exit_code == 1
        assert "of the 45 test images of sorted were trained on" in result.stderr
        assert {path.name: path.read_bytes() for path in trained.path.iterdir()} == before


@pytest.mark.slow
def test_a_moved_folder_exports_in_silence(
    sdedge: Invoke, folder: Path, trained: RunDir, tmp_path: Path
) -> None:
    folder.rename(tmp_path / "moved")
    result = sdedge("export", "--run", trained.path, "--dataset", tmp_path / "moved")
    assert _value(result)["images"] > 5
    assert "changed" not in result.stderr
    assert "which took no part in training" in (trained.path / "model-card.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["search", "train"])
def test_a_run_goes_on_with_a_moved_folder_and_with_no_other(
    sdedge: Invoke, folder: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, place = RunDir(tmp_path / "run"), ("--data-root", tmp_path / "data")
    own = {
        "search": ("--cells", "3", "--patch-size", "4", "--valid-images", "8"),
        "train": ("--cells", "2", "--genotype", "DARTS_V1"),
    }[command]
    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "append_metrics", _stop)
        start = (command, "--preset", "demo", "--epoch-images", "8", *TINY, *own)
        stopped = sdedge(*start, "--dataset", folder, "--run", run.path, *place)
        assert isinstance(stopped.exception, _Stopped), stopped.output
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    go_on = (command, "--resume", "--run", run.path)
    assert "neither a data set nor a folder" in sdedge(*go_on).stderr
    changed = tmp_path / "changed"
    shutil.copytree(moved, changed)
    next(changed.rglob("*.png")).unlink()
    before = run.config.read_bytes()
    refused = sdedge(*go_on, "--dataset", changed)
    assert "was started with other images" in refused.stderr
    assert run.config.read_bytes() == before
    assert "leave out --epochs" in sdedge(*go_on, "--dataset", moved, "--epochs", "3").stderr
    _value(sdedge(*go_on, "--dataset", moved, "--data-root", tmp_path / "other data"))
    settings = run.settings(command)
    assert settings["dataset"] == str(moved)  # where the next command looks for it
    assert settings["data_root"] == str(tmp_path / "other data")


class _Stopped(Exception):
    """Stands for the death of the process."""


def _stop(*_: object) -> None:
    raise _Stopped


def test_classes_and_what_is_left_out_are_told_before_decoding(
    sdedge: Invoke, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "notes.txt").write_text("")

    monkeypatch.setattr("sdedge.data.folder.decode_file", _stop)
    result = sdedge(
        *("search", "--preset", "demo", *TINY, "--cells", "3", "--patch-size", "4"),
        *("--dataset", folder, "--data-root", tmp_path / "data", "--run", tmp_path / "run"),
    )
    assert isinstance(result.exception, _Stopped)
    assert r"images: 3 classes (training + test images): caf\xe9 2" in result.stderr
    assert "1 file is left out: 1 outside the class folders (notes.txt)" in result.stderr
