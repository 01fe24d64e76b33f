"""Rates from latencies, and profiles from what the program of a bundle wrote."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from sdedge.deploy.board import calibrate as module
from sdedge.deploy.board import micro
from sdedge.deploy.board.calibrate import (
    ASSUMED,
    calibrate,
    measured_rates,
    micro_samples,
    read_result,
)
from sdedge.deploy.board.micro import NETWORK, Micro, file_name, micro_models, micro_set
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.targets.band import error_band
from sdedge.deploy.targets.predict import predict
from sdedge.deploy.targets.rates import Sample, fit_rates, held_out_ratios, predicted_ms
from sdedge.deploy.targets.target import Rates, load_target, read_target, save_target
from sdedge.errors import TargetError

TRUE = replace(
    ASSUMED,
    overhead_us={"run": 12.0, "node": 3.0, "pixel": 0.004},
    gmacs_per_s={
        **{"dense": 9.0, "pointwise": 6.0, "depthwise": 1.5, "linear": 2.0},
        **{"dense narrow": 3.0, "pointwise narrow": 2.0, "pointwise grouped": 2.0},
    },
    gbytes_per_s={**dict.fromkeys(ASSUMED.gbytes_per_s, 4.0), "memory": 2.0},
    channel_block=16,
    channel_multiple=1,
    cache_bytes=2**18,
)


@pytest.fixture(scope="module", autouse=True)
def _few_micro_benchmarks() -> Iterator[None]:
    """A part of the set: a chain of each kind and three small networks."""
    every = list(micro_set())
    chains = {m.kind: m for m in every if m.kind != NETWORK}
    networks = sorted((m for m in every if m.kind == NETWORK), key=lambda m: m.cells * m.size)[:3]
    few = [*(m for m in every if m.kind in ("pointwise", "depthwise")), *networks]
    few += [m for kind, m in chains.items() if kind not in ("pointwise", "depthwise")]

    def chosen() -> Iterator[Micro]:
        yield from few

    with pytest.MonkeyPatch.context() as patch:
        for place in (micro, module):
            patch.setattr(place, "micro_set", chosen)
        micro_models.cache_clear()
        yield
    micro_models.cache_clear()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def names(precision: Precision) -> list[str]:
    return [file_name(each, precision) for each in module.micro_set()]


@pytest.fixture(scope="module")
def latencies() -> dict[str, float]:
    """Of every micro-benchmark on a device of these rates, exactly."""
    found = {}
    for precision in ("fp32", "int8"):
        for sample, name in zip(
            micro_samples(precision, dict.fromkeys(names(precision), 1.0)),
            names(precision),
            strict=True,
        ):
            found[name] = predicted_ms(sample, TRUE)
    return found


@pytest.fixture(scope="module")
def samples(latencies: dict[str, float]) -> list[Sample]:
    return micro_samples("fp32", latencies)


@pytest.fixture
def result(latencies: dict[str, float]) -> dict[str, Any]:
    """As board.py writes it."""
    return {
        "format": 1,
        "emulated": False,
        "threads": 2,
        "machine": {"cpu_model": "Some Board", "onnxruntime_version": "1.22.0", "load": 0.1},
        "models": [{"file": "model.onnx", "precision": "fp32", "outputs_match": True}],
        "micro": [
            {"file": f"micro/{name}", "precision": "fp32", "latency_p50_ms": ms, "settled": True}
            for name, ms in latencies.items()
        ],
    }


@pytest.mark.slow
def test_rates_that_made_the_latencies_are_found_again(samples: list[Sample]) -> None:
    rates = measured_rates(samples)
    assert rates.channel_block == 16
    ratios = [predicted_ms(sample, rates) / sample.latency_ms for sample in samples]
    assert max(abs(ratio - 1) for ratio in ratios) < 0.1
    for kind in ("dense", "pointwise", "depthwise"):
        assert rates.gmacs_per_s[kind] == pytest.approx(TRUE.gmacs_per_s[kind], rel=0.35)
    assert 0.7 < rates.error.low <= 1 <= rates.error.high < 1.4


def test_a_few_latencies_set_the_speed_and_keep_the_proportions(samples: list[Sample]) -> None:
    assumed = replace(TRUE, gmacs_per_s={k: v / 10 for k, v in TRUE.gmacs_per_s.items()})
    slower = [replace(s, latency_ms=7 * predicted_ms(s, TRUE)) for s in samples if s.network]
    fitted, _ = fit_rates(slower[:1], TRUE, spread=0.1)
    ratio = fitted.gmacs_per_s["dense"] / fitted.gmacs_per_s["depthwise"]
    assert ratio == pytest.approx(9 / 1.5, rel=0.2)
    assert predicted_ms(slower[0], fitted) == pytest.approx(slower[0].latency_ms, rel=0.02)
    for sample in slower[1:]:
        assert predicted_ms(sample, fitted) == pytest.approx(sample.latency_ms, rel=0.15)
    again, _ = fit_rates(slower[:1], assumed, spread=0.1)
    assert predicted_ms(slower[0], again) == pytest.approx(slower[0].latency_ms, rel=0.05)


def test_a_network_is_judged_by_rates_that_never_saw_it(samples: list[Sample]) -> None:
    odd, *others = [sample for sample in samples if sample.network]
    strange = [replace(odd, latency_ms=3 * odd.latency_ms), *others]
    ratios = held_out_ratios(strange, TRUE, spread=0.3)
    assert [*ratios] == [sample.name for sample in strange]
    assert ratios[odd.name] == pytest.approx(3, rel=0.1)
    fitted, _ = fit_rates(strange, TRUE, spread=0.3)
    assert strange[0].latency_ms / predicted_ms(strange[0], fitted) < 2.5


def test_every_rate_stays_positive_without_work_for_it(samples: list[Sample]) -> None:
    fitted, _ = fit_rates(samples[:1], ASSUMED, spread=1.0)
    for group in (fitted.overhead_us, fitted.gmacs_per_s, fitted.gbytes_per_s):
        assert all(value > 0 for value in group.values())


def test_the_interval_is_students() -> None:
    ratios = np.exp(np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, -0.3, 0.05, -0.05, 0.0]))
    band = error_band(list(ratios))
    logs = np.log(ratios)
    reach = 1.8331 * logs.std(ddof=1) * np.sqrt(1.1)  # t of 9 degrees of freedom, 95%
    assert np.log(band.high) == pytest.approx(logs.mean() + reach, rel=2e-3)
    assert np.log(band.low) == pytest.approx(logs.mean() - reach, rel=2e-3)
    assert (band.coverage, band.networks) == (0.9, 10)


def test_the_interval_covers_what_it_says() -> None:
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        known = np.exp(generator.normal(0.1, 0.2, 12))
        band = error_band(list(known))
        inside.append(band.low <= np.exp(generator.normal(0.1, 0.2)) <= band.high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


@pytest.mark.slow
def test_a_result_becomes_the_profile_of_a_known_board(result: dict[str, Any]) -> None:
    shipped = load_target("pi4")
    target = calibrate("pi4", result, source="result.json")
    assert (target.title, target.ram_bytes, target.clock_mhz) == (
        shipped.title,
        shipped.ram_bytes,
        shipped.clock_mhz,
    )
    assert (target.runtime, target.threads, target.measured) == ("ONNX Runtime 1.22.0", 2, True)
    assert target.precisions == ("fp32", "int8")
    assert target.sources["rates"] == (
        "measured on Some Board with ONNX Runtime 1.22.0, 2 threads: result.json"
    )
    name = names("fp32")[-1]
    graph = read_graph(micro_models()[name])
    row = next(row for row in result["micro"] if row["file"] == f"micro/{name}")
    assert predict(graph, target).latency_ms == pytest.approx(row["latency_p50_ms"], rel=0.1)


def test_one_precision_is_enough_and_a_new_board_needs_its_ram(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measured_rates", lambda samples: TRUE)
    rows = [row for row in result["micro"] if not row["file"].endswith("int8.onnx")]
    given = {**result, "micro": rows}
    target = calibrate("mine", given, source="result.json", ram_bytes=2**28)
    assert (target.name, target.chip, target.ram_bytes) == ("mine", "Some Board", 2**28)
    assert target.precisions == ("fp32",)
    assert target.flash_bytes is None
    monkeypatch.setattr(module, "measured_rates", None)  # which take long: never called
    with pytest.raises(TargetError, match=r"mine is no known device: .* --ram-mb"):
        calibrate("mine", given, source="result.json")


@pytest.mark.parametrize("name", ["pi4", "mine", "host"])
def test_the_profile_is_whole_and_of_the_ram_that_is_given(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "measured_rates", lambda samples: TRUE)
    target = calibrate(name, result, source="result.json", ram_bytes=8 * 2**30)
    assert target == read_target(save_target(target))
    assert (target.ram_bytes, target.sources["ram_bytes"]) == (8 * 2**30, "as given")
    assert target.operator_bytes == module.OPERATOR_BYTES
    assert "ONNX files" in target.sources["operator_bytes"]


def _without(result: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != field}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {**r, "emulated": True}, "emulated processor, whose time is not a device's"),
        (lambda r: _without(r, "emulated"), "emulated processor"),
        (lambda r: {**r, "format": 2}, r"no result of this sdedge's board.py \(format 2, not 1\)"),
        (
            lambda r: {**r, "threads": 0},
            "threads is 0; it must be .* between 1 and 1,024",
        ),
        (lambda r: {**r, "threads": 10**400}, r"threads: 1000.* is too large a number"),
        (lambda r: {**r, "machine": {}}, "machine.cpu_model is missing"),
        (
            lambda r: {**r, "machine": {**r["machine"], "cpu_model": " "}},
            "cpu_model is ' '",
        ),
        (lambda r: {**r, "micro": {}}, "micro is {}; it must be a list"),
        (lambda r: {**r, "micro": []}, "there are no micro-benchmarks in it"),
        (
            lambda r: {**r, "models": [{"file": "model.onnx", "outputs_match": False}]},
            "the outputs of .*model.onnx.* did not match",
        ),
        (
            lambda r: {**r, "micro": r["micro"][1:]},
            r"1 of \d+ fp32 micro-benchmarks are missing, such as ",
        ),
    ],
)
def test_a_result_of_no_use_is_refused(
    result: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    with pytest.raises(TargetError, match=f"^board/result.json: .*{message}"):
        calibrate("pi4", change(result), source="board/result.json")


@pytest.mark.parametrize("value", [0, -1.0, None, "fast", True])
def test_a_latency_that_is_none_is_refused(result: dict[str, Any], value: Any) -> None:
    result["micro"][0]["latency_p50_ms"] = value
    with pytest.raises(TargetError, match=r"r\.json: micro\[0\]\.latency_p50_ms is .* above 0"):
        calibrate("pi4", result, source="r.json")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    for text in ("", "{", "[]"):
        file.write_text(text)
        with pytest.raises(TargetError, match=r"result\.json.*board\.py wrote"):
            read_result(file)
    with pytest.raises(TargetError, match="does not exist"):
        read_result(tmp_path / "none.json")
    file.write_text(json.dumps({"format": 1}))
    assert read_result(file) == {"format": 1}


@pytest.mark.slow
def test_micro_benchmarks_are_small_classifiers_in_both_precisions() -> None:
    models = micro_models()
    assert [*models] == [
        name for pair in zip(names("fp32"), names("int8"), strict=True) for name in pair
    ]
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    for name, data in models.items():
        graph = read_graph(data)
        assert not graph.unknown
        assert graph.precision == ("int8" if name.endswith("int8.onnx") else "fp32")
        side = graph.values[graph.inputs[0]].shape[-1]
        session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        (scores,) = session.run(None, {"input": image[:, :, :side, :side]})
        assert scores.shape == (1, micro.CLASSES)
        assert np.isfinite(scores).all()
    name = names("fp32")[0]
    before = models[name]
    micro_models.cache_clear()
    assert micro_models()[name] == before
    chain = [node.op_type for node in onnx.load_from_string(before).graph.node]
    assert chain.count("Conv") == micro.REPEATS + 1


def test_the_whole_set_has_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [each.name for each in micro_set()]
    assert len(set(whole)) == len(whole) > 90
    assert sum(each.kind == NETWORK for each in micro_set()) == micro.NETWORKS
    assert "depthwise-c16-h16-k3-s1" in whole


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], Any]]:
    """Import as the benchmarks do, whose folder is the first to be searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield import_module
    for name in ("predict", "boards", "reference_networks"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def boards(load: Callable[[str], Any]) -> Any:
    return load("boards")


def test_reference_networks_have_the_published_work(
    boards: Any, load: Callable[[str], Any]
) -> None:
    reference = load("reference_networks")
    for name, mmacs in reference.PUBLISHED_MMACS.items():
        macs = reference.NETWORKS[name]("fp32").macs
        assert macs / 1e6 == pytest.approx(mmacs, rel=0.005), name
    assert {anchor["network"] for anchor in boards.anchors()} <= set(reference.NETWORKS)


def test_every_anchor_is_predicted_without_it(boards: Any) -> None:
    alone = {"person_detection"}  # the only one of its board
    rows = boards.leave_one_out()
    assert {row["network"] for row in rows} | alone == {a["network"] for a in boards.anchors()}
    assert len(rows) == len(boards.anchors()) - 1
    (row,) = (r for r in rows if (r["target"], r["network"]) == ("cortex-m4", "resnet8"))
    rest = [s for s in boards.samples("cortex-m4", "int8") if s.name != "resnet8"]
    fitted, _ = fit_rates(rest, boards.BOARDS["cortex-m4"].assumed["int8"], spread=boards.BOUND)
    (left_out,) = (s for s in boards.samples("cortex-m4", "int8") if s.name == "resnet8")
    assert row["predicted_ms"] == pytest.approx(predicted_ms(left_out, fitted), rel=1e-9)


def test_errors_are_relative_to_what_was_measured(load: Callable[[str], Any]) -> None:
    benchmark = load("predict")
    pairs = ((1.0, 1.1), (2.0, 1.0), (4.0, 4.0), (8.0, 10.0))
    rows = [{"measured_ms": m, "predicted_ms": p} for m, p in pairs]
    found = benchmark.accuracy(rows)
    assert found["median_error"] == pytest.approx((0.1 + 0.25) / 2)
    assert found["rank_correlation"] == pytest.approx(0.8)
    assert benchmark.coverage({"interval": [0.75, 1.25], "rows": rows}) == 0.75


@pytest.mark.slow
def test_the_benchmark_calibrates_predicts_and_draws(
    load: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = load("predict")
    plot, out = tmp_path / "scatter.png", tmp_path / "out.json"
    options = ["--networks=2", "--rounds=1", "--json", f"--plot={plot}", f"--out={out}"]
    assert benchmark.main(options) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads(out.read_text())
    for precision in ("fp32", "int8"):
        found = summary["host"][precision]
        assert found["networks"] == len(found["rows"]) == 2
        assert 0 <= found["coverage"] <= 1
        assert all(row["measured_ms"] > 0 for row in found["rows"])
    assert plot.stat().st_size > 10_000
    vectors = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in vectors:
        benchmark.draw(summary, path)
    assert vectors[0].read_bytes() == vectors[1].read_bytes()


@pytest.mark.slow
def test_shipped_rates_follow_from_the_anchors(boards: Any) -> None:
    for name in boards.BOARDS:
        fitted: dict[str, Rates] = boards.board_rates(name)
        shipped = load_target(name)
        assert {*fitted} == {*shipped.rates}
        for precision, rates in fitted.items():
            stored = shipped.rates[precision]
            for sample in boards.samples(name, precision):
                assert predicted_ms(sample, stored) == pytest.approx(
                    predicted_ms(sample, rates), rel=0.01
                )
            assert stored.error.low == pytest.approx(rates.error.low, rel=0.01)
            assert stored.error.high == pytest.approx(rates.error.high, rel=0.01)


def test_a_band_of_another_share_is_that_of_the_same_measurements() -> None:
    rng = np.random.default_rng(0)
    ratios = np.exp(0.1 + 0.3 * rng.standard_normal(12))
    band = error_band(list(ratios))
    assert band.at(0.9) is band
    narrow, wide = band.at(0.5), band.at(0.99)
    assert band.low < narrow.low <= 1 <= narrow.high < band.high < wide.high
    assert wide.low < band.low
    # Student's quantiles for 11 degrees of freedom: 1.796 for 90%, 0.697 for 50%, 3.106 for 99%.
    reach = np.log(band.high / band.low) / 2
    assert np.log(wide.high / wide.low) / 2 == pytest.approx(reach * 3.106 / 1.796, rel=0.01)
    middle = np.sqrt(band.high * band.low)
    assert np.log(narrow.high / middle) == pytest.approx(reach * 0.697 / 1.796, rel=0.01)
