"""The public API: what `import sdedge` offers, and that it is quiet and light."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sdedge
from sdedge.device import own_torch
from sdedge.events import Event
from sdedge.loop import EpochEnded

TINY = {
    "dataset": "shapes",
    "channels": 4,
    "cells": 3,
    "epochs": 1,
    "epoch_images": 16,
    "batch_size": 8,
}


def test_every_public_name_is_there() -> None:
    assert sorted(sdedge.__all__) == sdedge.__all__
    for name in sdedge.__all__:
        assert getattr(sdedge, name) is not None
    assert set(sdedge.__all__) <= set(dir(sdedge))


def test_type_checkers_see_the_names_that_are_loaded_lazily() -> None:
    tree = ast.parse(inspect.getsource(sdedge))
    imported = {
        (alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sdedge.")
        for alias in node.names
    }
    assert imported == set(sdedge.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        sdedge.serach  # noqa: B018


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, sdedge\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'rich', 'typer', 'matplotlib'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["search", "train", "export", "bench", "predict_latency", "compare", "load_network"]
)
def test_functions_stay_functions_whatever_is_imported(name: str) -> None:
    """A package of the same name would take its place."""
    import sdedge.cli.main
    import sdedge.pipeline.compare

    function = getattr(sdedge, name)
    assert inspect.isfunction(function)
    assert inspect.getdoc(function)


def test_a_config_stands_alone(tmp_path: Path) -> None:
    config = sdedge.SearchConfig(**TINY)
    for arguments in ({"preset": "quick"}, {"epochs": 2}, {"resume": True}):
        with pytest.raises(sdedge.ConfigError, match="leave out"):
            sdedge.search(config, run=tmp_path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(sdedge.ConfigError, match="did you mean epochs"):
        sdedge.search(run=tmp_path, epcohs=3)
    assert not list(tmp_path.iterdir())


def test_a_search_from_a_config_and_its_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    config = sdedge.SearchConfig(**TINY, valid_images=16, data_root=data)
    events: list[Event] = []
    found = sdedge.search(config, run=tmp_path / "run", reporter=events.append)
    assert found.run == tmp_path / "run"
    assert found.config == config
    assert sum(isinstance(event, EpochEnded) for event in events) == 1
    assert found.to_dict()["genotype"] == found.genotype.to_dict()
    again = sdedge.search(run=tmp_path / "run", resume=True)
    assert again.genotype == found.genotype
    trained = sdedge.train(found, preset="demo", **{**TINY, "data_root": data})
    assert trained.run == found.run
    network, description = sdedge.load_network(trained)
    assert description.genotype == found.genotype
    assert not network.training
    with pytest.raises(sdedge.ConfigError, match="its own run directory"):
        sdedge.train(found, run=tmp_path / "other")
    assert capfd.readouterr() == ("", "")


def test_torch_is_the_caller_s_again_after_a_training(tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.get_rng_state().tolist(),
            torch.are_deterministic_algorithms_enabled(),
            cudnn.deterministic,
            cudnn.benchmark,
        )

    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    before = state()
    with torch.no_grad():
        trained = sdedge.train(
            "DARTS_V2", preset="demo", run=tmp_path / "run", data_root=str(tmp_path), **TINY
        )
    sdedge.load_network(trained)
    assert state() == before


def test_one_search_or_training_at_a_time_in_a_process(tmp_path: Path) -> None:
    with own_torch(), pytest.raises(sdedge.RunError, match="a process of its own"):
        sdedge.search(run=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def test_results_hold_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trained = sdedge.train(
        "DARTS_V2", preset="demo", run="run", data_root=str(tmp_path / "data"), **TINY
    )
    monkeypatch.chdir(tmp_path)
    exported = sdedge.export(trained, limit=10)
    assert exported.run == tmp_path / "here" / "run"
    artifact = sdedge.Artifact.open(str(exported.run / "model.onnx"))
    assert artifact.data == exported.artifacts[0].data


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: sdedge.train(config=sdedge.SearchConfig()), "must be a TrainConfig"),
        (lambda: sdedge.search(preset=None), "preset is None"),
        (lambda: sdedge.train(3.5), "not a float"),
        (lambda: sdedge.search(resume=True, preset="demo"), "leave out --preset"),
        (lambda: sdedge.train(resume=True, preset="demo"), "leave out --preset"),
        (lambda: sdedge.export(limit=1.5), "limit is 1.5; it must be a whole number"),
        (lambda: sdedge.export(formats="onx"), "choose from onnx"),
        (lambda: sdedge.export(3), "a path is text, and not a int"),
        (lambda: sdedge.predict_latency(target=[]), "target is empty"),
        (lambda: sdedge.Artifact.open("no.onnx"), "no.onnx"),
    ],
)
def test_mistakes_are_told(
    call: Callable[[], object], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sdedge.SdedgeError) as caught:
        call()
    assert complaint in str(caught.value)
