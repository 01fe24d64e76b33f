"""Settings: what is refused and how, the JSON form, and the presets."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sdedge.config import PhaseConfig, SearchConfig, TrainConfig, parse_settings
from sdedge.errors import ConfigError
from sdedge.escape import short

BOTH = [SearchConfig, TrainConfig]
NAN, INFINITY = float("nan"), float("inf")


def refused(kind: type[PhaseConfig], field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**{field: value})
    assert f"{field} is {short(value)}; it must be " in str(caught.value)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -5),
        ("batch_size", 1),
        ("batch_size", -64),
        ("seed", -1),
        ("seed", 2**63),
        ("image_size", 7),
        ("image_size", 1025),
        ("epoch_images", 20),
        ("epoch_images", -1),
        ("checkpoint_seconds", -1.0),
        ("checkpoint_seconds", NAN),
        ("channels", 0),
        ("channels", -16),
        ("channels", 17),
        ("channels", 2000),
        ("cells", 0),
        ("cells", 101),
        ("gradient_clip", 0.0),
        ("weight_decay", -1e-4),
        # Upper limits, and numbers that no machine takes.
        ("epochs", 10**9),
        ("epochs", 10**400),
        ("epochs", NAN),
        ("batch_size", 10**9),
        ("image_size", 10**9),
        ("epoch_images", 10**12),
        ("channels", 10**9),
        ("cells", 10**9),
        ("checkpoint_seconds", INFINITY),
        ("gradient_clip", 1e300),
        ("dataset", ""),
        ("data_root", None),
        ("device", ["cpu"]),
    ],
)
def test_settings_out_of_range_are_refused_everywhere(
    kind: type[PhaseConfig], field: str, value: object
) -> None:
    refused(kind, field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mask_ratio", 0),
        ("mask_ratio", 1),
        ("mask_ratio", -0.1),
        ("mask_ratio", NAN),
        ("mask_fill", NAN),
        ("mask_fill", INFINITY),
        ("patch_size", 0),
        ("weight_lr", 0.0),
        ("weight_lr", INFINITY),
        ("weight_lr_min", -0.001),
        ("weight_momentum", 1.0),
        ("alpha_lr", -3e-4),
        ("alpha_betas", (0.5, 1.0)),
        ("alpha_betas", (-0.1, 0.999)),
        ("alpha_decay", -1e-3),
        ("alpha_warmup", -0.1),
        ("alpha_warmup", 1.1),
        ("valid_images", 0),
        ("impl", "cuda"),
        ("max_latency_ms", 20.0),  # of which device?
        ("max_ram_kb", 0.0),
        ("max_flash_kb", -1.0),
        ("max_params", 0),
        ("int8", True),  # for which budget?
    ],
)
def test_a_search_refuses_settings_out_of_range(field: str, value: object) -> None:
    refused(SearchConfig, field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0.0),
        ("lr_min", -1.0),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", 600.0),
        ("momentum", 1.0),
        ("label_smoothing", 1.0),
        ("drop_path", 1.0),
        ("drop_path", -0.2),
        ("auxiliary_weight", -0.4),
        ("cutout", -1),
        ("ema_decay", 1.0),
        ("stem", "vgg"),
        ("augmentation", "mixup"),
        ("precision", "fp16"),
    ],
)
def test_a_training_refuses_settings_out_of_range(field: str, value: object) -> None:
    refused(TrainConfig, field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "50"),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", None),
        ("channels", 16.0),
        ("dataset", 10),
        ("mask_ratio", "0.6"),
        ("alpha_betas", [0.5]),
        ("alpha_betas", ["a", "b"]),
        ("impl", ["auto"]),
        ("device", {"cuda": 0}),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_file(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchConfig.from_dict({field: value}, source="run/config.json")
    assert str(caught.value).startswith(f"run/config.json: {field} is ")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SearchConfig, {"strategy": "a" * 10_000}),
        (SearchConfig, {"dataset": "a" * 10_000}),
        (SearchConfig, {"epochs": 10**10_000}),
        (SearchConfig, {"mask_fill": -(10**10_000)}),
        (TrainConfig, {"a" * 10_000: 1}),
        (TrainConfig, {"cutout": "\x1b[31m" + "a" * 10_000}),
    ],
)
def test_a_message_stays_on_one_short_line(kind: type[PhaseConfig], value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.from_dict(value, source="config.json")
    assert len(str(caught.value)) < 900
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 5, "paper", [1], [["epochs", 5]]])
def test_settings_that_are_no_object_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: the settings are .*no JSON object"):
        SearchConfig.from_dict(value, source="config.json")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("dataset=null", "dataset is None; it must be text"),
        ("data_root=5", "data_root is 5; it must be text"),
        ("dataset=[]", r"dataset is \[\]; it must be text"),
        ("strategy=[1, 2]", r"strategy is \[1, 2\]; it must be text"),
        ("space=[]", "space is .*; it must be one of darts, nas-bench-201"),
        ("benchmark_table={}", "benchmark_table is {}; it must be text"),
        ("mask_fill=NaN", "mask_fill is 'NaN'; it must be a number"),
        ("mask_fill=Infinity", "mask_fill is 'Infinity'; it must be a number"),
        ("epochs=1e999", "epochs is '1e999'; it must be a whole number"),
        ("epochs=" + "9" * 5000, "epochs is '9+[.]{3}9+'; it must be"),
        ("epochs=" + "9" * 50, "epochs is 9+[.]{0,3}9*; it must be"),
        ("epochs=" + "[" * 1000 + "]" * 1000, "epochs is .{1,90}; it must be"),
        ("epochs=" + '{"a":' * 100_000, "epochs is .{1,90}; it must be"),
        ("epochs=\udce9", r"epochs is '.*udce9'; it must be"),
    ],
)
def test_a_pair_of_the_wrong_type_is_refused(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig.check(parse_settings([pair], how="--set"))


def test_an_int_may_stand_where_a_float_belongs() -> None:
    assert SearchConfig(mask_fill=1).mask_fill == 1


@pytest.mark.parametrize("kind", BOTH)
def test_an_unknown_setting_is_named_with_its_file(kind: type[PhaseConfig]) -> None:
    with pytest.raises(ConfigError, match=r"^run/config\.json: .*learning_rate"):
        kind.from_dict({"learning_rate": 0.1}, source="run/config.json")


@pytest.mark.parametrize("kind", BOTH)
def test_the_smallest_allowed_values_are_allowed(kind: type[PhaseConfig]) -> None:
    config = kind(
        epochs=1, batch_size=2, image_size=8, epoch_images=2, checkpoint_seconds=0, seed=0
    )
    assert config.epoch_images == 2


@pytest.mark.parametrize("kind", BOTH)
def test_the_json_form_survives_a_file(kind: type[PhaseConfig]) -> None:
    config = kind(dataset="shapes", seed=7, epochs=3, epoch_images=640)
    text = json.dumps(config.to_dict())
    assert kind.from_dict(json.loads(text), source="here") == config
    assert kind.from_dict(config.to_dict(), source="here") == config


def test_betas_are_a_tuple_again_after_json() -> None:
    config = SearchConfig(alpha_betas=(0.9, 0.99))
    restored = SearchConfig.from_dict(json.loads(json.dumps(config.to_dict())), source="here")
    assert restored.alpha_betas == (0.9, 0.99)
    assert hash(restored) == hash(config)


@pytest.mark.parametrize("kind", BOTH)
def test_every_preset_is_a_valid_set_of_settings(kind: type[PhaseConfig]) -> None:
    for name, settings in kind.presets().items():
        config = kind.from_preset(name, {})
        assert {field: getattr(config, field) for field in settings} == settings


@pytest.mark.parametrize("kind", BOTH)
def test_the_paper_preset_is_the_defaults(kind: type[PhaseConfig]) -> None:
    assert kind.from_preset("paper", {}) == kind()


def test_the_defaults_are_the_published_protocols() -> None:
    search: dict[str, Any] = {
        "epochs": 50,
        "batch_size": 64,
        "channels": 16,
        "cells": 8,
        "patch_size": 8,
        "mask_ratio": 0.6,
        "weight_lr": 0.025,
        "weight_lr_min": 0.001,
        "weight_momentum": 0.9,
        "weight_decay": 3e-4,
        "gradient_clip": 5.0,
        "alpha_lr": 3e-4,
        "alpha_betas": (0.5, 0.999),
        "alpha_decay": 1e-3,
    }
    train: dict[str, Any] = {
        "epochs": 600,
        "batch_size": 96,
        "channels": 36,
        "cells": 20,
        "lr": 0.025,
        "lr_min": 0.0,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "gradient_clip": 5.0,
        "cutout": 16,
        "drop_path": 0.2,
        "auxiliary_weight": 0.4,
    }
    for config, values in ((SearchConfig(), search), (TrainConfig(), train)):
        assert {field: getattr(config, field) for field in values} == values


def test_an_override_replaces_the_preset() -> None:
    config = SearchConfig.from_preset("quick", {"epochs": 3, "epoch_images": None})
    assert config.epochs == 3
    assert config.epoch_images is None
    assert config.channels == SearchConfig.presets()["quick"]["channels"]


@pytest.mark.parametrize("kind", BOTH)
def test_an_unknown_preset_lists_those_there_are(kind: type[PhaseConfig]) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.from_preset("fast", {})
    assert "'fast'" in str(caught.value)
    assert all(name in str(caught.value) for name in kind.presets())


@pytest.mark.parametrize("kind", BOTH)
def test_a_step_is_plain_unless_graphs_are_asked_for(kind: type[PhaseConfig]) -> None:
    assert kind().step == "eager"
    assert kind(cuda_graphs=True).step == "cuda graphs"
    refused(kind, "cuda_graphs", 1)


def test_a_budget_is_a_target_or_a_limit() -> None:
    assert not SearchConfig().budgeted
    assert SearchConfig(target="pi4").budgeted
    config = SearchConfig(target="pi4", max_latency_ms=20.0, max_params=100_000, int8=False)
    assert config.budgeted
    assert config.limits == {"max_latency_ms": 20.0, "max_params": 100_000}


def test_defaults_of_a_strategy_give_way_to_the_preset_and_to_options() -> None:
    defaults = {"epochs": 250, "weight_lr": 0.1, "alpha_lr": 1e-2}
    config = SearchConfig.from_preset("quick", {"weight_lr": 0.2}, defaults)
    assert (config.epochs, config.weight_lr, config.alpha_lr) == (10, 0.2, 6e-3)
    assert SearchConfig.from_preset("paper", {}, defaults).epochs == 250


def test_a_shorter_preset_keeps_its_lengths_and_rates_for_every_strategy() -> None:
    paper = {"epochs": 250, "batch_size": 256, "weight_lr": 0.1, "weight_decay": 27e-4}
    full = SearchConfig.from_preset("paper", {}, paper)
    assert (full.epochs, full.batch_size, full.weight_lr) == (250, 256, 0.1)
    quick = SearchConfig.from_preset("quick", {}, paper)
    assert quick == replace(SearchConfig.from_preset("quick", {}), weight_decay=27e-4)


def test_nas_bench_201_has_its_own_depth_and_length() -> None:
    space = {"space": "nas-bench-201"}
    assert SearchConfig.from_preset("paper", space).cells == 5
    assert SearchConfig.from_preset("paper", space).epochs == 100
    assert SearchConfig.from_preset("paper", space, {"epochs": 250}).epochs == 250
    assert SearchConfig.from_preset("quick", space).cells == 1
    assert SearchConfig.from_preset("quick", {**space, "cells": 2}).cells == 2
    with pytest.raises(ConfigError, match="only cells of the DARTS space are priced"):
        SearchConfig.from_preset("paper", {**space, "max_params": 10**6})


def test_a_setting_of_an_earlier_version_is_refused_with_its_new_name() -> None:
    with pytest.raises(ConfigError, match=r"alpha_rest \(did you mean alpha_warmup\?\)"):
        SearchConfig.check({"alpha_rest": 0.3})
    stored = {**SearchConfig().to_dict(), "alpha_rest": 0.3}
    del stored["alpha_warmup"]
    assert SearchConfig.from_dict(stored, source="config.json").alpha_warmup == 0.3
