"""Whether a budget can be met, at what size, and what prices it gives a search."""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from factories.exports import quantize_network, to_onnx
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.deploy.fit import prices
from sdedge.deploy.fit import requirements as sizing
from sdedge.deploy.fit.check import Limits, check_fit
from sdedge.deploy.fit.prices import Plan, make_plan
from sdedge.deploy.fit.requirements import Requirements, largest, require
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.targets.target import Target, list_targets, load_target
from sdedge.errors import ConfigError, RunError, TargetError
from sdedge.genotype import Genotype, published
from sdedge.nas.budget import Costs
from sdedge.space.darts.cell import random_genotype
from sdedge.space.saved import NetworkDescription

LIMITS = {"max_params": 1, "max_ram_kb": 1, "max_flash_kb": 1}
WIDTHS, DEPTHS = range(2, 12, 2), (3, 4, 5)


@pytest.fixture(autouse=True)
def _small_space_and_shipped_profiles(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sizing, prices):
        monkeypatch.setattr(module, "CHANNELS", WIDTHS)
        monkeypatch.setattr(module, "CELLS", DEPTHS)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


def requirements(
    target: Target | None = None, precision: Any = "int8", **limits: Any
) -> Requirements:
    return Requirements(
        target=target, limits=Limits(**limits), precision=precision, classes=4, image_size=16
    )


@pytest.fixture
def controller() -> Target:
    return next(target for target in list_targets() if target.flash_bytes)


def cells(seed: int, count: int) -> list[Genotype]:
    rng = random.Random(seed)
    return [random_genotype(rng) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits",
    [
        {"max_params": 6000},
        {"max_ram_kb": 12},
        {"max_flash_kb": 60},
        {"max_ram_kb": 16, "max_flash_kb": 80, "max_params": 9000},
    ],
)
def test_the_chosen_network_is_the_largest_that_fits(limits: dict[str, Any]) -> None:
    wanted = requirements(**limits)
    genotype = published()["DARTS_V1"].genotype
    everything = [wanted.measure(genotype, c, n) for c in WIDTHS for n in DEPTHS]
    fitting = [size for size in everything if size.fit.fits]
    assert 0 < len(fitting) < len(everything), "this limit decides nothing"
    best = max(fitting, key=lambda size: size.macs)
    chosen = largest([size.to_dict() for size in wanted.sizes(genotype)])
    assert chosen == best.to_dict()


def test_a_width_or_depth_that_is_given_decides_the_other() -> None:
    sizes = [
        {"channels": 10, "cells": 3, "macs": 50},
        {"channels": 8, "cells": 4, "macs": 70},
        {"channels": 4, "cells": 5, "macs": 60},
    ]
    assert largest(sizes) == sizes[1]
    assert largest(sizes, cells=5) == sizes[2]
    assert largest(sizes, channels=9) == sizes[0]
    assert largest(sizes, channels=4) == sizes[1]
    assert largest(sizes, channels=12) is largest(sizes, cells=6) is largest([]) is None


def test_what_is_planned_in_int8_is_what_the_quantised_file_takes(
    tiny_dataset: Dataset,
) -> None:
    board, genotype = load_target("pi4"), cells(3, 1)[0]
    wanted = replace(requirements(board, max_latency_ms=1.0, **LIMITS), classes=3)
    torch.manual_seed(0)
    description = NetworkDescription(
        genotype=genotype,
        channels=4,
        cells=3,
        stem="cifar",
        classes=tiny_dataset.classes,
        image_size=16,
        mean=tiny_dataset.mean,
        std=tiny_dataset.std,
        dataset="tiny",
    )
    network = description.build().eval()
    fp32 = to_onnx(network, description).SerializeToString()
    made = quantize_network(network, description, tiny_dataset, fp32, calibration_images=12)
    found = check_fit(read_graph(made.data), board, wanted.limits)
    assert found.checks == wanted.measure(genotype, 4, 3).fit.checks


def smallest() -> dict[str, float]:
    """What the network that needs least of each figure needs of it."""
    sizes = [requirements(**LIMITS).measure(cell, 2, 3) for cell in sizing.SMALLEST_CELLS]
    return {limit: min(size.to_dict()["found"][limit] for size in sizes) for limit in LIMITS}


@pytest.mark.slow
def test_no_cell_needs_less_than_the_smallest() -> None:
    least = smallest()
    for genotype in cells(0, 12):
        found = requirements(**LIMITS).measure(genotype, 2, 3).to_dict()["found"]
        assert all(found[limit] >= least[limit] for limit in LIMITS)


def test_a_budget_out_of_reach_is_refused_with_what_the_smallest_network_needs() -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(requirements(max_params=500, max_flash_kb=1), 3)
    message = str(caught.value)
    found = smallest()
    assert f"--max-params {found['max_params']} (it is 500)" in message
    assert "--max-flash-kb " in message
    assert "3 cells of 2 channels" in message
    needed = message.split("--max-flash-kb ")[1].split()[0]
    enough = requirements(max_params=found["max_params"], max_flash_kb=float(needed))
    enough.check_possible()
    with pytest.raises(ConfigError, match="max-params"):
        replace(
            enough, limits=replace(enough.limits, max_params=found["max_params"] - 1)
        ).check_possible()


def test_int8_is_offered_where_fp32_cannot_fit() -> None:
    int8 = smallest()["max_ram_kb"]
    with pytest.raises(ConfigError, match="search with --int8"):
        requirements(precision="fp32", max_ram_kb=int8).check_possible()
    with pytest.raises(ConfigError) as caught:
        requirements(precision="fp32", max_ram_kb=int8 / 2).check_possible()
    assert "--int8" not in str(caught.value)


def test_a_device_with_room_for_everything_is_no_budget(controller: Target) -> None:
    board = load_target("pi4")
    with pytest.raises(ConfigError, match="pi4 limits nothing here"):
        requirements(board).check_possible()
    requirements(board, max_latency_ms=1000.0).check_possible()
    tiny = replace(controller, name="tiny", ram_bytes=2048)
    with pytest.raises(ConfigError, match=r"kB of ram, and the device has 2"):
        requirements(tiny).check_possible()


def relative_errors(costs: Costs, limit: str, plan: Plan) -> list[float]:
    errors = []
    for genotype in cells(1, 10):
        found = plan.requirements.measure(genotype, *plan.reference).to_dict()["found"][limit]
        errors.append(abs(costs.of(genotype) / found - 1))
    return errors


@pytest.mark.slow
def test_prices_add_up_to_the_cost_of_cells_that_were_not_priced() -> None:
    board = load_target("pi4")
    wanted = requirements(board, board.precisions[0], max_latency_ms=100.0, max_params=10**6)
    plan = make_plan(wanted, 4)
    assert plan.reference[1] == 4
    assert set(plan.costs) == {"max_latency_ms", "max_params"}, "it has RAM for any network"
    for limit, worst in (("max_latency_ms", 0.1), ("max_params", 0.01)):
        costs = plan.costs[limit]
        assert costs.limit == wanted.limits.active[limit]
        assert costs.error < worst / 2
        assert np.median(relative_errors(costs, limit, plan)) < worst
        for table in costs.prices.values():
            assert table["sep_conv_5x5"] > table["dil_conv_5x5"] > table["max_pool_3x3"]
    data = json.loads(json.dumps(plan.to_dict()))
    assert {name: Costs.from_dict(c, source="") for name, c in data["costs"].items()} == plan.costs
    assert (data["reference"]["channels"], data["reference"]["cells"]) == plan.reference


@pytest.mark.slow
def test_where_an_average_cell_does_not_fit_prices_are_of_the_smallest_network() -> None:
    plan = make_plan(requirements(max_params=int(smallest()["max_params"]) + 1), 5)
    assert plan.reference == (2, 3)
    least = plan.costs["max_params"].of(sizing.SMALLEST_CELLS[0])
    assert least == pytest.approx(smallest()["max_params"], rel=0.05)


@pytest.mark.slow
def test_of_the_devices_own_memory_only_what_is_scarce_is_priced(controller: Target) -> None:
    roomy = requirements(replace(controller, ram_bytes=2**30), max_params=9000)
    average = roomy.widest(published()[sizing.AVERAGE_CELL].genotype, 3, WIDTHS[-1])
    assert average is not None
    scarce = replace(controller, ram_bytes=2**30, flash_bytes=average.fit.flash_bytes)
    assert set(make_plan(replace(roomy, target=scarce), 3).costs) == {"max_params", "flash"}


def test_the_settings_of_a_search_say_what_is_required(controller: Target) -> None:
    plain = require(SearchConfig(max_ram_kb=64.0), 10, 32)
    assert (plain.target, plain.precision, plain.limits) == (None, "fp32", Limits(max_ram_kb=64.0))
    assert require(SearchConfig(max_params=9, int8=True), 10, 32).precision == "int8"
    usual = require(SearchConfig(target=controller.name), 10, 32)
    assert usual.target == controller
    assert usual.precision == controller.precisions[0]
    with pytest.raises(TargetError, match="no target 'toaster'"):
        require(SearchConfig(target="toaster"), 10, 32)


def test_requirements_survive_json_and_damage_is_told(controller: Target) -> None:
    wanted = requirements(controller, max_params=9000)
    data = json.loads(json.dumps(wanted.to_dict()))
    assert Requirements.from_dict(data, source="budget.json") == wanted
    for damage in ({"precision": "int4"}, {"limits": {"max_params": 0}}, {"classes": None}):
        with pytest.raises(RunError, match=r"^budget\.json is damaged"):
            Requirements.from_dict({**data, **damage}, source="budget.json")
    del data["profile"]["rates"]
    with pytest.raises(TargetError, match=r"^budget\.json"):
        Requirements.from_dict(data, source="budget.json")
