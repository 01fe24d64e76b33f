"""What the commands print, and how they fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from factories.networks import describe
from sdedge.cli.main import app
from sdedge.config import TrainConfig
from sdedge.space.saved import save_network


def sdedge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_names_every_command() -> None:
    result = sdedge("--help")
    assert result.exit_code == 0
    for command in (
        "search",
        "train",
        "export",
        "bench",
        "demo",
        "datasets",
        "strategies",
        "nasbench",
        "genotype",
        "doctor",
    ):
        assert command in result.stdout


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['sdedge', '--help']\n"
        "from sdedge.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit(len({'torch', 'numpy', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["search", "--dataset", "nope"], "cifar10, cifar100, shapes"),
        (["search", "--dataset", "shapes", "--strategy", "nope"], "darts, darts-2nd"),
        (["search", "--dataset", "shapes", "--task", "nope"], "semantic, classification"),
        (["search", "--preset", "nope"], "auto, paper, quick, demo"),
        (["search", "--set", "nope=1"], "unknown settings nope"),
        (["search", "--set", "weight_lr"], "NAME=VALUE"),
        (["search", "--seed", "1", "--set", "seed=2"], "seed is given twice: 1, and --set seed=2"),
        (["search", "--set", "epochs=1.5"], "epochs is 1.5"),
        (["search", "--set", "alpha_betas=3"], "such as [0.5, 0.999]"),
        (["search", "--dataset", "shapes", "--run", "taken"], "holds other files"),
        (["search", "--set", "weight_lr=fast"], "weight_lr is 'fast'"),
        (["search", "--mask-ratio", "0"], "mask_ratio is 0.0"),
        (["search", "--mask-ratio", "1"], "mask_ratio is 1.0"),
        (["search", "--cells", "0"], "cells is 0"),
        (["search", "--device", "tpu"], "device is 'tpu'"),
        (["search", "--dataset", "shapes", "--patch-size", "5"], "patch_size is 5"),
        (["search", "--dataset", "shapes", "--batch-size", "4096"], "4096"),
        (["search", "--dataset", "shapes", "--impl", "triton"], "impl='triton' cannot run"),
        (["search", "--resume", "--seed", "3"], "leave out --seed"),
        (["search", "--resume", "--set", "alpha_lr=0.1"], "leave out --set alpha_lr"),
        (["train", "--genotype", "nope"], "DARTS_V2"),
        (["train", "--genotype", "DARTS_V2", "--dataset", "nope"], "cifar10"),
        (["genotype", "count", "nope"], "DARTS_V1, DARTS_V2"),
        (["genotype", "count", "DARTS_V1", "--stem", "nope"], "cifar, imagenet"),
        (["genotype", "count", "DARTS_V1", "--classes", "1"], "classes is 1"),
        (["genotype", "show", "DARTS_V1", "--draw", "cell.gif"], ".gif"),
        (["export"], "no run directory"),
        (["bench"], "no run directory"),
        (["bench", "--device", "tpu"], "choose from cpu"),
        (["bench", "--model", "nope.onnx"], "nope.onnx"),
        (["bench", "--model", "nope.onnx", "--shape", "3,x,3"], "3,32,32"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_1(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "cat.jpg").touch()
    result = sdedge(*arguments)
    assert result.exit_code == 1
    assert complaint in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("runs/*/config.json")), "nothing may start"


def test_wrong_usage_is_exit_code_2() -> None:
    assert sdedge("search", "--no-such-option").exit_code == 2
    assert sdedge("genotype", "count").exit_code == 2


def test_count_prints_one_json_object() -> None:
    result = sdedge("genotype", "count", "DARTS_V2", "--json")
    assert json.loads(result.stdout) == {
        "genotype": "DARTS_V2",
        "params": 3_349_342,
        "macs": 528_359_040,
        "cells": 20,
        "channels": 36,
        "classes": 10,
        "stem": "cifar",
        "image_size": 32,
        "size_from": "the papers' networks for CIFAR-10",
    }


def test_a_run_s_own_network_is_counted(tmp_path: Path) -> None:
    """Trained, else in training, else chosen for a budget; options go before all of them."""

    def count(*more: str) -> dict[str, Any]:
        result = sdedge("genotype", "count", tmp_path, "--json", *more)
        assert result.exit_code == 0, result.output
        value: dict[str, Any] = json.loads(result.stdout)
        return value

    description = describe("DARTS_V2", classes=3)
    network = description.build()
    (tmp_path / "genotype.json").write_text(description.genotype.to_json())
    assert (count()["cells"], count()["size_from"]) == (
        20,
        "the papers' networks for CIFAR-10, as the run has none yet",
    )
    budget = {
        **{"target": None, "profile": None, "limits": {}, "precision": "fp32"},
        **{"classes": 7, "image_size": 8},
        "chosen": {"cells": 5, "channels": 6, "macs": 9, "found": {}},
    }
    (tmp_path / "budget.json").write_text(json.dumps(budget))
    found = count()
    assert [found[name] for name in ("cells", "channels", "classes", "image_size")] == [5, 6, 7, 8]
    assert found["size_from"] == "the run's budget"
    config = TrainConfig(cells=8, channels=10).to_dict()
    (tmp_path / "config.json").write_text(json.dumps({"train": config}))
    assert (count()["cells"], count()["channels"]) == (8, 10)
    save_network(tmp_path / "weights.safetensors", network, description)
    found = count()
    assert found["params"] == sum(p.numel() for p in network.parameters())
    assert [found[name] for name in ("cells", "channels", "classes", "image_size")] == [3, 4, 3, 16]
    assert count("--cells", "4")["cells"] == 4
    text = sdedge("genotype", "count", tmp_path, "--cells", "4").stdout
    assert "sizes are those of the run's trained network; cells as given" in text


def test_show_draws(tmp_path: Path) -> None:
    drawing = tmp_path / "cell.svg"
    result = sdedge("genotype", "show", "PDARTS", "--draw", drawing)
    assert result.exit_code == 0, result.output
    assert drawing.read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    "command", [["datasets"], ["strategies"], ["doctor"], ["genotype", "list"]]
)
def test_lists_in_both_forms(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sdedge(*command).exit_code == 0
    assert isinstance(json.loads(sdedge(*command, "--json").stdout), dict)


@pytest.mark.parametrize(
    "wrong", [("--task", "nope"), ("--strategy", "nope"), ("--device", "tpu"), ("--impl", "triton")]
)
def test_settings_are_refused_before_any_image_is_opened(
    wrong: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert sdedge("search", "--dataset", "shapes", *wrong).exit_code == 1
    assert not list(tmp_path.iterdir())


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    cell = tmp_path / "my[bold]cell.json"
    cell.write_text(sdedge("genotype", "show", "PDARTS", "--json").stdout)
    assert str(cell) in sdedge("genotype", "show", cell).stdout
