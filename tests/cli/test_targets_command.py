"""sdedge targets: the list, one profile, and a profile from measurements."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sdedge.cli.targets import app
from sdedge.deploy.board import bundle, calibrate
from sdedge.deploy.board.calibrate import ASSUMED
from sdedge.deploy.board.micro import Micro
from sdedge.deploy.targets.rates import Sample
from sdedge.deploy.targets.target import Rates, load_target, save_target, user_folder

MICRO = (Micro(kind="pointwise", channels=4, size=8), Micro(kind="pointwise", channels=8, size=8))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(autouse=True)
def _fitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-benchmarks, and rates that are what was assumed."""

    def samples(precision: str, latencies: Mapping[str, float]) -> list[Sample]:
        return []

    def rates(samples: Sequence[Sample]) -> Rates:
        return ASSUMED

    monkeypatch.setattr(calibrate, "micro_set", lambda: iter(MICRO))
    monkeypatch.setattr(calibrate, "micro_samples", samples)
    monkeypatch.setattr(calibrate, "measured_rates", rates)


def measured(**changes: Any) -> dict[str, Any]:
    micro = [
        {"file": f"micro/{each.name}.onnx", "latency_p50_ms": 0.1, "settled": True}
        for each in MICRO
    ]
    machine = {"cpu_model": "Some Board", "onnxruntime_version": "1.22.0"}
    whole = {"format": 1, "emulated": False, "threads": 4, "machine": machine, "models": []}
    return {**whole, "micro": micro, **changes}


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(measured()))
    return path


def targets(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: str | Path) -> dict[str, Any]:
    done = targets(*arguments, "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def complaint(*arguments: str | Path) -> str:
    done = targets(*arguments)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    return done.stderr


def test_the_list_names_device_runtime_and_where_rates_come_from() -> None:
    def entry() -> str:
        done = targets()
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("pi4 "))
        return " ".join(lines[start : start + 2])

    for word in ("Raspberry Pi 4 Model B", "ncnn", "fp32 and int8", "1 GiB", "published"):
        assert word in entry()
    save_target(replace(load_target("pi4"), measured=True))
    assert "measured" in entry()
    listed = told()["targets"]
    assert {"stm32h743", "stm32h743-tflm"} <= {target["name"] for target in listed}
    assert all(target["sources"]["rates"] for target in listed)


def test_the_list_has_a_name_of_its_own() -> None:
    assert targets("list").stdout == targets().stdout
    assert told("list") == told()


def test_one_profile_is_shown_with_its_sources() -> None:
    done = targets("show", "cortex-m4")
    assert done.exit_code == 0, done.output
    for words in (
        *("X-CUBE-AI 9.0", "1 thread, ", "640 KiB", "41.9 mW", "GMAC/s", "6.919 mJ in 165.1 ms"),
        *("412 bytes and its weights", "ResNet-32 takes more code"),
    ):
        assert words in done.stdout
    assert "of networks, by 9 that were left out" in done.stdout
    profile = told("show", "cortex-m4")
    assert (profile["name"], profile["ram_bytes"]) == ("cortex-m4", 655360)


def test_an_unknown_target_lists_those_there_are() -> None:
    said = complaint("show", "pi3")
    assert "no target 'pi3' (did you mean pi5?): neither a JSON file nor one of" in said
    assert "sdedge targets calibrate host" in complaint("show", "host")


def test_a_board_becomes_a_profile_that_is_used_from_then_on(result: Path) -> None:
    done = targets("calibrate", "pi4", result)
    assert done.exit_code == 0, done.output
    assert f"written to {user_folder() / 'pi4.json'}" in done.stdout
    assert "pi4 in fp32: measured latency is 0.50 to 2.00 times" in done.stdout
    assert "did not settle" not in done.stdout
    target = load_target("pi4")
    assert (target.measured, target.runtime, target.threads) == (True, "ONNX Runtime 1.22.0", 4)
    assert str(result) in target.sources["rates"]
    assert told("calibrate", "mine", result, "--ram-mb", "256")["ram_bytes"] == 2**28


def test_measurements_that_did_not_settle_are_pointed_out(tmp_path: Path) -> None:
    first, *others = measured()["micro"]
    rows = [{**first, "settled": False}, *others]
    path = tmp_path / "noisy.json"
    path.write_text(json.dumps(measured(micro=rows)))
    done = targets("calibrate", "pi4", path)
    text = " ".join(done.stdout.split())
    assert "1 of 2 micro-benchmarks did not settle" in text
    assert "calibrate again (sdedge targets calibrate pi4 with a new result.json)" in text
    value = told("calibrate", "pi4", path)
    assert (value["unsettled"], value["measurements"]) == (1, 2)
    assert "1 micro-benchmarks did not settle" in load_target("pi4").sources["rates"]


def test_this_machine_is_measured_where_no_file_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measure(models: Mapping[str, bytes], threads: int) -> dict[str, Any]:
        asked.append((dict(models), threads))
        return measured(threads=threads)

    monkeypatch.setattr(bundle, "measure_host", measure)
    profile = told("calibrate", "host", "--threads", "2")
    assert asked == [({}, 2)]
    assert (profile["name"], profile["threads"], profile["measured"]) == ("host", 2, True)
    assert profile["ram_bytes"] > 2**20
    assert load_target("host").title == "this machine"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("pi4", {"emulated": True}, "emulated processor"),
        ("pi4", {"models": [{"file": "m.onnx", "outputs_match": False}]}, "did not match"),
        ("mine", {}, "--ram-mb"),
        ("My Board", {}, "cannot be a target's name"),
    ],
)
def test_nothing_is_written_from_a_result_of_no_use(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(measured(**changes)))
    assert message in complaint("calibrate", name, path)
    assert not user_folder().exists()


def test_a_board_is_not_measured_from_here(tmp_path: Path) -> None:
    assert "give the result.json that board.py wrote" in complaint("calibrate", "pi4")
    assert "does not exist" in complaint("calibrate", "pi4", tmp_path / "none.json")
    for size in ("0", "9" * 400):
        said = complaint("calibrate", "pi4", tmp_path / "x", "--ram-mb", size)
        assert f"--ram-mb is '{size[:9]}" in said


def test_threads_are_of_a_measurement_here(result: Path) -> None:
    assert "--threads 2 is for measuring this machine" in complaint(
        "calibrate", "pi4", result, "--threads", "2"
    )
    assert not user_folder().exists()


def test_the_ram_that_is_given_goes_before_the_devices(result: Path) -> None:
    assert told("calibrate", "pi4", result, "--ram-mb", "8192")["ram_bytes"] == 2**33
