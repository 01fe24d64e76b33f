"""`sdedge memory`: what it prints about a run or a file, and how it fails."""

import json
from pathlib import Path

import onnx
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from factories.exports import to_onnx
from factories.networks import describe
from sdedge.cli.memory import memory
from sdedge.cli.render.figures import kilobytes
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.memory.plan import flash_bytes, plan_memory

APP = typer.Typer()
APP.command()(memory)


def command(*arguments: str | Path) -> Result:
    # Wide enough that no name is folded.
    return CliRunner(env={"COLUMNS": "200"}).invoke(APP, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with no more than an exported network."""
    description = describe("DARTS_V1")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text("{}")
    model = to_onnx(description.build().eval(), description)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_a_run_is_summed_up_as_json(run: Path) -> None:
    result = command("--run", run, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    graph = read_graph(run / "model.onnx")
    plan = plan_memory(graph)
    assert value["model_path"] == str(run / "model.onnx")
    assert value["precision"] == "fp32"
    assert value["peak_ram_bytes"] == plan.peak_ram_bytes
    assert value["peak_operator"] == plan.peak_operator
    assert value["flash_bytes"] == flash_bytes(graph)
    assert sum(t["size_bytes"] for t in value["live_at_peak"]) == value["peak_ram_bytes"]
    assert value["peak_ram_bytes"] <= value["arena_bytes"]
    assert value["peak_ram_bytes"] <= value["file_order_bytes"]
    assert value["optimal"] is True


def test_int8_is_the_same_network_quantised(run: Path) -> None:
    plain, quantised = (
        json.loads(command("--model", run / "model.onnx", "--json", *more).stdout)
        for more in ([], ["--int8"])
    )
    assert quantised["precision"] == "int8"
    assert 4 * quantised["peak_ram_bytes"] == plain["peak_ram_bytes"]
    assert quantised["weight_bytes"] < plain["weight_bytes"] / 3
    assert quantised["parameters"] == plain["parameters"]


def test_people_read_what_fills_the_memory(run: Path) -> None:
    result = command("--run", run)
    assert result.exit_code == 0, result.output
    plan = plan_memory(read_graph(run / "model.onnx"))
    assert plan.peak_operator in result.stdout
    for value in plan.live:
        assert value.name in result.stdout
    assert kilobytes(plan.peak_ram_bytes) in result.stdout
    assert "no order needs less" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "gone.onnx"], "gone.onnx does not exist"),
        (["--model", "a.onnx", "--run", "b"], "give --model a.onnx or --run b, not both"),
        ([], "no run directory"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_1(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert not result.stdout


def test_a_run_without_an_export_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    result = command("--run", tmp_path)
    assert result.exit_code == 1
    assert "sdedge export" in result.stderr


def test_a_file_cut_short_is_named(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "half.onnx"
    file.write_bytes((run / "model.onnx").read_bytes()[:5000])
    result = command("--model", file)
    assert result.exit_code == 1
    assert "half.onnx is cut short" in result.stderr


def test_an_image_size_that_the_file_leaves_open(run: Path, tmp_path: Path) -> None:
    whole, open_file = run / "model.onnx", tmp_path / "open.onnx"
    model = onnx.load(whole)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    onnx.save(model, open_file)
    refused = command("--model", open_file)
    assert refused.exit_code == 1
    assert "--shape 3,224,224" in refused.output
    given = json.loads(command("--model", open_file, "--shape", "3,16,16", "--json").stdout)
    assert given["peak_ram_bytes"] == plan_memory(read_graph(whole)).peak_ram_bytes


@pytest.mark.parametrize(
    "shape", ["3,16", "3,0,16", "3,65537,16", "3,16,1e3", "3,16," + "9" * 5000]
)
def test_a_shape_that_is_none(run: Path, shape: str) -> None:
    result = command("--model", run / "model.onnx", "--shape", shape)
    assert result.exit_code == 1
    assert "Error: --shape" in result.output
