"""Target profiles: the shipped ones, what is refused, and measured ones that go before them."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdedge.deploy.memory.plan import OPERATOR_BYTES
from sdedge.deploy.targets import target as module
from sdedge.deploy.targets.target import (
    check_name,
    list_targets,
    load_target,
    read_target,
    save_target,
    shipped_target,
    user_folder,
)
from sdedge.errors import TargetError

NAMES = {
    "cortex-m4",
    "cortex-m4-tflm",
    "esp32s3",
    "imx8mp",
    "jetson-nano-cpu",
    "jetson-nano-gpu",
    "pi4",
    "pi5",
    "pizero2w",
    "stm32f746",
    "stm32h743",
    "stm32h743-tflm",
    "watch",
}
DELETE = object()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write pi4's profile with the field at a dotted path set, or deleted."""
    whole = json.loads((Path(module.__file__).parent / "profiles" / "pi4.json").read_text())

    def write(path: str, value: Any) -> Path:
        data = copy.deepcopy(whole)
        *groups, name = path.split(".")
        place = data
        for group in groups:
            place = place[group]
        if value is DELETE:
            del place[name]
        else:
            place[name] = value
        file = tmp_path / "board.json"
        file.write_text(json.dumps(data))
        return file

    return write


def test_every_shipped_profile_is_whole_and_names_its_runtime() -> None:
    listed = list_targets()
    assert {target.name for target in listed} == NAMES
    for target in listed:
        assert target.runtime
        assert not target.measured
        assert target == load_target(target.name) == shipped_target(target.name)
        for rates in target.rates.values():
            assert rates.error.low < 1 < rates.error.high
            assert rates.error.networks >= 9
    chips = [target.flash_bytes is not None for target in listed]
    assert chips == sorted(chips)  # microcontrollers last


def test_one_chip_with_two_runtimes_differs() -> None:
    quick, slow = load_target("stm32h743"), load_target("stm32h743-tflm")
    assert quick.chip == slow.chip
    assert quick.runtime != slow.runtime
    speeds = [t.rates["int8"].gmacs_per_s["pointwise"] for t in (quick, slow)]
    assert speeds[0] > 1.5 * speeds[1]


@pytest.mark.parametrize(
    "path",
    [
        *("threads", "ram_bytes", "code_bytes", "operator_bytes"),
        *("rates.fp32.channel_block", "rates.fp32.error.networks"),
    ],
)
@pytest.mark.parametrize("value", [0, -4, 1.5, True, "4", None])
def test_a_figure_that_is_no_count_is_refused(
    damaged: Callable[[str, Any], Path], path: str, value: Any
) -> None:
    file = damaged(path, value)
    with pytest.raises(TargetError, match=rf"^{file}: {path} is {value!r}; it must be a whole"):
        read_target(file)


@pytest.mark.parametrize(
    "path",
    [
        "rates.fp32.gmacs_per_s.depthwise",
        "rates.int8.gbytes_per_s.memory",
        "rates.fp32.overhead_us.node",
        "rates.fp32.error.high",
    ],
)
@pytest.mark.parametrize("value", [0, -0.5, False, "fast", None, [1]])
def test_a_rate_that_is_no_positive_number_is_refused(
    damaged: Callable[[str, Any], Path], path: str, value: Any
) -> None:
    file = damaged(path, value)
    with pytest.raises(TargetError) as refusal:
        read_target(file)
    assert f"{file}: {path} is {value!r}; it must be a number above 0" in str(refusal.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_rate_that_is_not_finite_is_refused(
    damaged: Callable[[str, Any], Path], value: float
) -> None:
    file = damaged("rates.fp32.gmacs_per_s.depthwise", value)
    with pytest.raises(TargetError, match=r"is not valid JSON: .* is no number of JSON"):
        read_target(file)


@pytest.mark.parametrize(
    "path", ["runtime", "rates", "sources", "flash_bytes", "rates.int8.gmacs_per_s.linear"]
)
def test_a_missing_field_is_named(damaged: Callable[[str, Any], Path], path: str) -> None:
    with pytest.raises(TargetError, match=rf"board\.json: {path} is missing"):
        read_target(damaged(path, DELETE))


def test_a_profile_from_before_operators_had_a_size_is_taken_at_the_usual_one(
    damaged: Callable[[str, Any], Path],
) -> None:
    file = damaged("operator_bytes", DELETE)
    data = json.loads(file.read_text())
    del data["sources"]["operator_bytes"]
    file.write_text(json.dumps(data))
    target = read_target(file)
    assert target.operator_bytes == OPERATOR_BYTES
    assert target.sources["operator_bytes"].startswith("assumed")
    file.write_text(json.dumps(target.to_dict()))
    assert read_target(file) == target


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_operator_takes_what_the_runtimes_file_does(name: str) -> None:
    target = load_target(name)
    flatbuffer = "TensorFlow Lite" in target.runtime
    assert (target.operator_bytes == 1000) == flatbuffer
    assert (target.operator_bytes == OPERATOR_BYTES) == (
        target.flash_bytes is not None and not flatbuffer
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("clock_ghz", 1.8, r"clock_ghz is an unknown field \(did you mean clock_mhz\?\)"),
        ("rates.fp16", {}, "rates.fp16 is 'fp16'; it must be one of fp32, int8"),
        ("rates.fp32.gmacs_per_s.magic", 1, "gmacs_per_s.magic is an unknown rate"),
        ("rates", {}, "rates has none of fp32, int8"),
        ("rates", [], r"rates is \[\]; it must be an object"),
        ("title", " ", "title is ' '; it must be text that is not blank"),
        ("measured", 1, "measured is 1; it must be true or false"),
        (
            "rates.fp32.error.low",
            1.2,
            "error: low and high are 1.2 and .*; 1 lies between",
        ),
        ("rates.fp32.error.coverage", 1, "coverage is 1; it must be a number above 0 and below 1"),
        ("power_mw", 900, "sources does not say where power_mw comes from"),
        ("sources.ram_bytes", DELETE, "sources does not say where ram_bytes comes from"),
        ("sources.operator_bytes", DELETE, "does not say where operator_bytes comes from"),
        ("sources.rates", DELETE, r"where rates\.fp32\.overhead_us\.run comes from"),
        ("sources.rates", 3, "sources.rates is 3; it must be text"),
    ],
)
def test_what_a_profile_may_not_say(
    damaged: Callable[[str, Any], Path], path: str, value: Any, message: str
) -> None:
    with pytest.raises(TargetError, match=rf"board\.json: .*{message}"):
        read_target(damaged(path, value))


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "board.json"
    file.write_text(text)
    with pytest.raises(TargetError, match=r"board\.json.*give a profile as"):
        load_target(file)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(TargetError, match=r"no target 'pi3'.*: .*imx8mp, .*pi4, pi5, .*watch"):
        load_target("pi3")


def test_this_machine_has_to_be_measured_first() -> None:
    with pytest.raises(TargetError, match="sdedge targets calibrate host"):
        load_target("host")


def test_a_measured_profile_goes_before_the_shipped_one() -> None:
    shipped = load_target("pi4")
    measured = replace(shipped, runtime="ONNX Runtime 1.22", measured=True)
    assert save_target(measured) == user_folder() / "pi4.json"
    assert load_target("pi4") == measured
    assert shipped_target("pi4") == shipped
    by_name = {target.name: target for target in list_targets()}
    assert by_name["pi4"].measured
    assert len(by_name) == len(NAMES)


def test_a_damaged_measured_profile_is_named(tmp_path: Path) -> None:
    path = save_target(replace(load_target("pi4"), name="mine"))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(TargetError, match=r"mine\.json"):
        list_targets()


@pytest.mark.parametrize("name", ["", "Pi 4", "../pi4", "pi4.json", "a/b", "-x"])
def test_a_name_that_could_not_be_used_again_is_refused(name: str) -> None:
    with pytest.raises(TargetError, match="cannot be a target's name"):
        check_name(name)
