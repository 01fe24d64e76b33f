"""A budget on the command line: planned, searched for, trained, and judged on the exported file."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

from factories.exports import to_onnx
from factories.networks import describe
from sdedge.cli.main import app
from sdedge.cli.render.checks import show_verdict
from sdedge.config import SearchConfig
from sdedge.deploy.fit import prices
from sdedge.deploy.fit import requirements as sizing
from sdedge.deploy.fit.check import Limits
from sdedge.deploy.fit.requirements import Requirements, require
from sdedge.deploy.targets.target import HOST, Target, load_target
from sdedge.device import seed_step
from sdedge.errors import ConfigError, RunError
from sdedge.events import Event, Notice, silent
from sdedge.files import write_json
from sdedge.genotype import published
from sdedge.pipeline.budget import budgeted_size, known_problem, planned_costs
from sdedge.pipeline.verdict import check_budget
from sdedge.run import RunDir, read_json

SEARCH = (
    *("search", "--preset", "demo", "--task", "classification", "--channels", "2"),
    *("--batch-size", "4", "--epoch-images", "8", "--valid-images", "4", "--image-size", "8"),
    *("--epochs", "1"),
)
TRAIN = ("train", "--preset", "demo", "--epochs", "1", "--batch-size", "4", "--epoch-images", "8")


def sdedge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: str | Path) -> tuple[dict[str, Any], str]:
    result = sdedge(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), " ".join(result.stderr.split())


def console() -> Console:
    return Console(record=True, file=io.StringIO(), width=200)


@pytest.fixture(autouse=True)
def _small_space_and_shipped_profiles(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sizing, prices):
        monkeypatch.setattr(module, "CHANNELS", range(2, 8, 2))
        monkeypatch.setattr(module, "CELLS", (3, 4))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--max-params", "0"], "max_params is 0; it must be a whole number between 1"),
        (["--max-ram-kb", "-3"], "max_ram_kb is -3.0; it must be a number above 0"),
        (["--max-latency-ms", "5"], "--target NAME"),
        (["--int8"], "it says what a budget is for"),
        (["--target", "toaster"], "no target 'toaster'"),
        (["--max-params", "20"], "no network of this space meets the budget"),
        (["--target", "pi4"], "pi4 limits nothing here"),
        (["--target", "pi4", "--max-latency-ms", "0.0001"], "needs --max-latency-ms "),
        (["--resume", "--max-params", "20"], "leave out --max-params"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_before_any_image_is_opened(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sdedge("search", "--dataset", "cifar10", *arguments)
    assert result.exit_code == 1
    assert complaint in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_from_a_budget_to_a_network_of_the_size_it_chose(tmp_path: Path) -> None:
    run, data = tmp_path / "run", ("--data-root", tmp_path / "data")
    limits = ("--max-params", "12000", "--max-flash-kb", "300", "--int8")
    searched, text = told(*SEARCH, *limits, "--run", run, *data)
    plan = read_json(run / "budget.json")
    assert plan["limits"] == {"max_params": 12000, "max_flash_kb": 300}
    assert (plan["precision"], plan["image_size"], plan["classes"]) == ("int8", 8, 10)
    assert set(plan["costs"]) == {"max_params", "max_flash_kb"}
    assert plan["chosen"] == searched["size"] == max(plan["sizes"], key=lambda size: size["macs"])
    assert plan["chosen"]["found"]["max_params"] <= 12000
    assert "parameters: this cell" in text
    record = RunDir(run).read_metrics("search")[-1]
    assert record["budget"]["max_params"]["limit"] == 12000

    before = (run / "budget.json").read_bytes()
    resumed, _ = told("search", "--resume", "--run", run)
    assert (run / "budget.json").read_bytes() == before
    assert resumed["size"] == searched["size"]

    trained, text = told(*TRAIN, "--run", run)
    settings = RunDir(run).settings("train")
    assert {k: settings[k] for k in ("channels", "cells")} == {
        k: plan["chosen"][k] for k in ("channels", "cells")
    }
    assert trained["params"] <= 12000
    other, text = told(
        *TRAIN, "--genotype", run, "--channels", "16", "--run", tmp_path / "other", *data
    )
    assert "did not choose this width" in text
    assert RunDir(tmp_path / "other").settings("train")["channels"] == 16
    assert read_json(tmp_path / "other" / "budget.json") == plan
    assert other["params"] > 12000


@pytest.mark.slow
def test_an_interrupted_search_goes_on_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ("--max-params", "3000", "--epochs", "2", "--checkpoint-seconds", "0")
    start = (*SEARCH[:-2], *limits, "--data-root", tmp_path / "data")
    runs = [RunDir(tmp_path / name) for name in ("straight", "interrupted")]
    told(*start, "--run", runs[0].path)
    calls = iter(range(1000))

    def interrupt(*path: Any) -> None:
        if next(calls) == 4:  # two steps and an evaluation, then a step
            raise KeyboardInterrupt
        seed_step(*path)

    with monkeypatch.context() as patch:
        patch.setattr("sdedge.loop.runner.seed_step", interrupt)
        assert sdedge(*start, "--run", runs[1].path).exit_code == 130
    assert len(runs[1].read_metrics("search")) == 1
    told("search", "--resume", "--run", runs[1].path)
    ends = [run.read_metrics("search")[-1]["budget"] for run in runs]
    assert ends[0] == ends[1]
    assert ends[0]["max_params"]["multiplier"] > 0
    plans = [(run.path / "budget.json").read_bytes() for run in runs]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(("size", "expected"), [((), 64), (("--image-size", "8"), 8)])
def test_a_folders_classes_are_known_before_any_image_is_opened(
    tmp_path: Path, size: tuple[str, ...], expected: int
) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "owl/1.png", "owl/2.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no image, " + name.encode())
    command = ("--dataset", tmp_path / "photos", "--data-root", tmp_path / "data", *size)
    result = sdedge("search", *command, "--max-params", "9")
    assert "no network of this space meets the budget" in result.stderr
    assert f"images of {expected} px" in result.stderr
    assert not (tmp_path / "data" / "cache").exists()
    config = SearchConfig(
        dataset=str(tmp_path / "photos"), max_params=9, image_size=8 if size else None
    )
    assert known_problem(config) == (3, expected)
    assert known_problem(replace(config, max_params=None)) is None


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = sdedge("search", "--dataset", tmp_path / "none", "--max-params", "9")
    assert "neither a data set nor a folder" in " ".join(result.stderr.split())


@pytest.mark.parametrize("damage", [{}, {"costs": []}, {"costs": {"max_params": 3}}])
def test_a_search_does_not_go_on_without_the_prices_it_began_with(
    tmp_path: Path, damage: dict[str, Any]
) -> None:
    write_json(tmp_path / "budget.json", {**PLANNED, **damage})
    with pytest.raises(RunError, match=r"budget\.json is damaged"):
        planned_costs(RunDir(tmp_path))


PLANNED = Requirements(
    target=None, limits=Limits(max_params=9), precision="fp32", classes=10, image_size=32
).to_dict()
SIZES = [
    {"channels": 6, "cells": 3, "macs": 50, "found": {}},
    {"channels": 4, "cells": 4, "macs": 70, "found": {}},
]


@pytest.mark.parametrize(
    ("overrides", "recipe", "expected"),
    [
        ({}, {}, {"channels": 4, "cells": 4}),
        ({"seed": 3}, {"channels": 36, "cells": 20}, {"channels": 4, "cells": 4}),
        ({"cells": 3}, {}, {"channels": 6, "cells": 3}),
        ({"channels": 5}, {}, {"channels": 6, "cells": 3}),
        ({"image_size": 32}, {}, {"channels": 4, "cells": 4}),
        ({"cells": 9}, {}, None),
        ({"channels": 4, "cells": 4}, {}, None),
        ({"image_size": 64}, {}, None),
        ({"stem": "imagenet"}, {}, None),
        ({}, {"image_size": 224, "stem": "imagenet"}, None),
    ],
)
def test_what_the_user_gives_stands_and_is_told(
    tmp_path: Path, overrides: dict[str, Any], recipe: dict[str, Any], expected: Any
) -> None:
    write_json(tmp_path / "budget.json", {**PLANNED, "sizes": SIZES})
    events: list[Event] = []
    assert budgeted_size(RunDir(tmp_path), overrides, recipe, events.append) == (expected or {})
    told = [event for event in events if isinstance(event, Notice) and event.warning]
    assert [("did not choose" in notice.text) for notice in told] == [True] * (expected is None)


def test_a_training_needs_a_size_unless_it_is_given_one(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert budgeted_size(run, {}, {}, silent) == {}
    write_json(tmp_path / "budget.json", {**PLANNED, "sizes": []})
    with pytest.raises(ConfigError, match="at any width and depth"):
        budgeted_size(run, {}, {}, silent)
    assert budgeted_size(run, {"channels": 4, "cells": 4}, {}, silent) == {}
    write_json(tmp_path / "budget.json", PLANNED)
    with pytest.raises(RunError, match="search --resume"):
        budgeted_size(run, {}, {}, silent)


def exported(
    path: Path, target: Target | None = None, **limits: Any
) -> tuple[RunDir, Requirements]:
    """A run with a budget in fp32 and an exported network of six channels."""
    run = RunDir.create("run", path)
    wanted = Requirements(
        target=target, limits=Limits(**limits), precision="fp32", classes=10, image_size=8
    )
    write_json(run.path / "budget.json", wanted.to_dict())
    torch.manual_seed(0)
    description = describe("DARTS_V1", channels=6, classes=10, image_size=8)
    run.onnx.write_bytes(to_onnx(description.build(), description).SerializeToString())
    return run, wanted


def verdict(run: RunDir) -> tuple[dict[str, Any], str]:
    out, verdict = console(), check_budget(run)
    assert verdict
    show_verdict(out, verdict)
    return verdict.to_dict(), " ".join(out.export_text().split())


@pytest.mark.parametrize("spare", [1, 0, -1])
def test_the_verdict_is_of_the_exported_file_and_says_by_how_much(
    tmp_path: Path, spare: int
) -> None:
    run, wanted = exported(tmp_path / "probe", max_params=1)
    needed = wanted.measure(published()["DARTS_V1"].genotype, 6, 3).fit.parameters
    run, _ = exported(tmp_path / "run", max_params=needed + spare, max_ram_kb=1e6)
    value, text = verdict(run)
    assert json.loads((run.path / "fit.json").read_text()) == json.loads(json.dumps(value))
    ram, params = value["checks"]
    assert (params["found"], params["margin"]) == (needed, spare)
    assert value["fits"] == params["fits"] == (spare >= 0)
    assert ram["fits"]
    assert ("does not fit its budget" in text) == (spare < 0)
    assert (value["model"], value["precision"], value["if_quantised"]) == (
        "model.onnx",
        "fp32",
        False,
    )


def test_a_prediction_is_told_with_its_interval(tmp_path: Path) -> None:
    run, _ = exported(tmp_path / "run", load_target("pi4"), max_latency_ms=1000.0)
    value, text = verdict(run)
    check = value["checks"][0]
    assert check["low"] < check["found"] < check["high"] < 1000
    assert value["target"] == "pi4"
    assert "on pi4" in text
    assert value["measured_p50_ms"] is None


def test_an_int8_budget_without_a_quantised_file_is_judged_as_if(tmp_path: Path) -> None:
    run, wanted = exported(tmp_path / "run", max_flash_kb=1e6)
    write_json(run.path / "budget.json", replace(wanted, precision="int8").to_dict())
    value, text = verdict(run)
    assert (value["precision"], value["if_quantised"]) == ("int8", True)
    assert "export --int8" in text


def test_on_this_machine_the_latency_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = replace(load_target("pi4"), name=HOST)
    run, _ = exported(tmp_path / "run", host, max_latency_ms=1e-9)
    asked: list[Any] = []

    class Result:
        latency_p50_ms = 0.25

    def bench(model: Path, *, threads: int, profile: bool) -> Result:
        asked.append((model, threads, profile))
        return Result()

    monkeypatch.setattr("sdedge.deploy.latency.profiler.run_bench", bench)
    value, _ = verdict(run)
    assert asked == [(run.onnx, host.threads, False)]
    check = value["checks"][0]
    assert (check["found"], check["low"], check["fits"]) == (0.25, None, False)
    assert value["measured_p50_ms"] == 0.25
    assert value["prediction"]["latency_ms"] > 0


def test_a_run_without_a_budget_has_no_verdict(tmp_path: Path) -> None:
    run = RunDir.create("run", tmp_path / "run")
    assert check_budget(run) is None
    assert not list(run.path.iterdir())


def test_the_budget_of_a_run_keeps_the_profile_it_was_planned_with(tmp_path: Path) -> None:
    wanted = require(SearchConfig(target="pi4", max_latency_ms=5.0), 10, 32)
    write_json(tmp_path / "budget.json", wanted.to_dict())
    again = Requirements.from_dict(read_json(tmp_path / "budget.json"), source="here")
    assert again.target == load_target("pi4")
