"""The search as a phase: halves of the data, repeatable to the bit, resumable anywhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdedge import device
from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset, Split
from sdedge.errors import ConfigError, RunError
from sdedge.events import Reporter
from sdedge.genotype import Genotype
from sdedge.loop import MEASURED, run_phase
from sdedge.nas.data import search_halves
from sdedge.nas.phase import SearchPhase
from sdedge.nas.tasks.task import TaskBatch, TaskLoss
from sdedge.run import RunDir
from sdedge.space.darts.supernet import Supernet
from sdedge.space.nasbench201.supernet import Nb201Supernet

EPOCHS, STEPS = 2, 2


def config(**settings: Any) -> SearchConfig:
    return SearchConfig(
        **{
            "device": "cpu",
            "epochs": EPOCHS,
            "batch_size": 4,
            "epoch_images": 4 * STEPS,
            "valid_images": 6,
            "channels": 4,
            "cells": 3,
            "patch_size": 4,
            "alpha_lr": 0.05,
            **settings,
        }
    )


def searched(
    dataset: Dataset, run: RunDir, reporter: Reporter, **settings: Any
) -> tuple[SearchPhase, list[dict[str, Any]]]:
    phase = SearchPhase(config(**settings), dataset)
    run_phase(phase, run, reporter, resume=False, checkpoint_seconds=1e9)
    return phase, timeless(run)


def timeless(run: RunDir) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics("search")
    ]


def same_state(first: SearchPhase, second: SearchPhase) -> bool:
    a, b = first.state(), second.state()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SearchPhase, list[dict[str, Any]]]:
    run = RunDir.create("search", tmp_path_factory.mktemp("straight"))
    return searched(tiny_dataset, run, reporter)


def test_mixed_labels_are_halved_in_their_order() -> None:
    labels = np.array([0, 2, 1, 0, 1, 2, 2])
    train, search = search_halves(labels, seed=2)
    assert train.tolist() == [0, 1, 2]
    assert search.tolist() == [3, 4, 5, 6]


def test_a_set_stored_class_by_class_is_shuffled_first() -> None:
    labels = np.repeat(np.arange(4), 50)
    train, search = search_halves(labels, seed=2)
    assert sorted([*train, *search]) == list(range(200))
    assert len(train) == 100
    for half in (train, search):
        assert set(labels[half]) == {0, 1, 2, 3}


def test_the_halves_depend_on_the_seed_alone() -> None:
    labels = np.repeat(np.arange(4), 50)
    first, again, other = (search_halves(labels, seed) for seed in (2, 2, 3))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_weights_never_see_the_search_half_nor_alphas_the_training_half(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that carry their own index show which half reaches which step."""
    count = len(tiny_dataset.train.labels)
    images = np.repeat(np.arange(count, dtype=np.uint8), 16 * 16 * 3).reshape(-1, 16, 16, 3)
    dataset = replace(tiny_dataset, train=Split(images, tiny_dataset.train.labels))
    phase = SearchPhase(config(task="reconstruction", epoch_images=None), dataset)
    assert phase.steps == count // 2 // 4
    seen: dict[str, list[float]] = {"train": [], "search": []}

    def note(half: str, batch: TaskBatch) -> TaskLoss:
        seen[half] += batch.images[:, 0, 0, 0].tolist()
        return TaskLoss(torch.zeros(()), {})

    monkeypatch.setattr(phase.data, "augment", lambda pixels: pixels)
    monkeypatch.setattr(phase, "alpha_step", lambda _, search: note("search", search))
    monkeypatch.setattr(phase, "weight_step", lambda train: note("train", train))
    for step, batch in enumerate(phase.batches(0, 0)):
        phase.step(0, step, batch)
    assert sorted(seen["train"]) == list(range(count // 2))
    assert sorted(seen["search"]) == list(range(count // 2, count))


def test_an_epoch_tells_how_the_search_stands(
    straight: tuple[SearchPhase, list[dict[str, Any]]],
) -> None:
    phase, records = straight
    assert [record["epoch"] for record in records] == [1, 2]
    for record in records:
        assert 0 <= record["valid_accuracy"] <= 1
        assert 0 <= record["train_accuracy"] <= 1
        assert record["valid_loss"] == pytest.approx(2 * record["valid_cross_entropy"], rel=1e-6)
        assert 0 < record["alpha_entropy_normal"] <= np.log(8) + 1e-6
        genotype = Genotype.from_dict(record["genotype"])
        assert record["skip_count"] == genotype.skip_count
        assert record["collapsed"] == genotype.collapsed
    assert phase.genotype() == Genotype.from_dict(records[-1]["genotype"])


def test_the_same_seed_gives_the_same_search_and_another_seed_another(
    straight: tuple[SearchPhase, list[dict[str, Any]]],
    tiny_dataset: Dataset,
    reporter: Reporter,
    tmp_path: Path,
) -> None:
    again, records = searched(tiny_dataset, RunDir.create("s", tmp_path / "a"), reporter)
    assert same_state(again, straight[0])
    assert records == straight[1]
    other, _ = searched(tiny_dataset, RunDir.create("s", tmp_path / "b"), reporter, seed=3)
    for name, alpha in other.bilevel.alphas.items():
        assert not torch.equal(alpha, straight[0].bilevel.alphas[name])


@pytest.mark.parametrize("at", [(e, s) for e in range(EPOCHS) for s in range(STEPS + 1)])
def test_a_search_that_dies_anywhere_ends_as_one_that_did_not(
    straight: tuple[SearchPhase, list[dict[str, Any]]],
    tiny_dataset: Dataset,
    crash_and_resume: Callable[..., tuple[SearchPhase, RunDir]],
    at: tuple[int, int],
) -> None:
    resumed, run = crash_and_resume(lambda: SearchPhase(config(), tiny_dataset), at, 0.0)
    assert same_state(resumed, straight[0])
    assert timeless(run) == straight[1]


def test_second_order_is_refused_where_a_factor_of_the_loss_is_held_constant(
    tiny_dataset: Dataset,
) -> None:
    with pytest.raises(ConfigError, match="darts-2nd differentiates twice"):
        SearchPhase(config(strategy="darts-2nd", task="semantic"), tiny_dataset)


def test_a_second_order_search_resumes_to_the_bit(
    tiny_dataset: Dataset,
    reporter: Reporter,
    crash_and_resume: Callable[..., tuple[SearchPhase, RunDir]],
    tmp_path: Path,
) -> None:
    settings = {"strategy": "darts-2nd", "task": "classification", "epochs": 1}
    run = RunDir.create("s", tmp_path / "straight")
    phase, records = searched(tiny_dataset, run, reporter, **settings)
    resumed, crashed = crash_and_resume(
        lambda: SearchPhase(config(**settings), tiny_dataset), (0, 1), 0.0
    )
    assert same_state(resumed, phase)
    assert timeless(crashed) == records


def test_alpha_is_fixed_during_its_warmup(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path: Path
) -> None:
    run = RunDir.create("s", tmp_path / "run")
    phase, records = searched(tiny_dataset, run, reporter, alpha_warmup=0.5, task="classification")
    untouched = SearchPhase(config(task="classification"), tiny_dataset).end_epoch(0)
    for name in ("alpha_entropy_normal", "alpha_entropy_reduce"):
        assert records[0][name] == untouched[name] > records[1][name]
    assert phase.relative_cost(0) < phase.relative_cost(1) == 1


def test_the_learning_rate_falls_by_a_cosine_an_epoch(tiny_dataset: Dataset) -> None:
    phase = SearchPhase(config(epochs=50, weight_lr=0.025, weight_lr_min=0.001), tiny_dataset)
    rates = []
    for epoch in (0, 25, 49):
        phase.begin_epoch(epoch)
        rates.append(phase.bilevel.weight_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.025, 0.013, 0.0010237], rel=1e-4)
    assert phase.bilevel.alpha_optimizer.param_groups[0]["lr"] == 0.05


def test_evaluation_changes_nothing(tiny_dataset: Dataset) -> None:
    phase = SearchPhase(config(), tiny_dataset)
    before = {name: tensor.clone() for name, tensor in phase.state().items()}
    phase.end_epoch(0)
    after = phase.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    phase.begin_epoch(1)
    assert phase.bilevel.supernet.training
    assert phase.bilevel.task.training


@pytest.mark.parametrize("valid_images", [1, 6, None])
def test_validation_counts_every_image_once(
    tiny_dataset: Dataset, valid_images: int | None
) -> None:
    phase = SearchPhase(config(valid_images=valid_images), tiny_dataset)
    seen = sum(len(labels) for _, labels in phase.data.valid.ordered())
    assert seen == (valid_images or len(tiny_dataset.train.labels) // 2)
    assert 0 <= phase.end_epoch(0)["valid_accuracy"] <= 1


def test_a_smaller_last_batch_of_the_validation_weighs_less(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def right_in_full_batches(batch: TaskBatch) -> TaskLoss:
        return TaskLoss(torch.zeros(()), {"accuracy": torch.tensor(float(len(batch.labels) == 4))})

    phase = SearchPhase(config(valid_images=6), tiny_dataset)
    monkeypatch.setattr(phase.bilevel, "loss", right_in_full_batches)
    assert phase.end_epoch(0)["valid_accuracy"] == pytest.approx(4 / 6)


def test_a_batch_larger_than_a_half_is_refused(tiny_dataset: Dataset) -> None:
    SearchPhase(config(batch_size=12, epoch_images=None), tiny_dataset)
    with pytest.raises(ConfigError, match=r"batch_size is 13, but each half of the 24 .* has 12"):
        SearchPhase(config(batch_size=13, epoch_images=None), tiny_dataset)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"strategy": "nope"}, "unknown strategy 'nope'"),
        ({"task": "nope"}, "unknown task 'nope'"),
        ({"patch_size": 5}, "patch_size is 5"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"cells": 1}, "cells is 1"),
        ({"cells": 2}, "cells is 2"),
    ],
)
def test_settings_that_cannot_be_searched_with_are_refused(
    tiny_dataset: Dataset, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        SearchPhase(config(**settings), tiny_dataset)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("alpha/normal"),
        lambda state: state.update({"alpha/normal": torch.zeros(6, 5)}),
        lambda state: state.pop("supernet/classifier.weight"),
        lambda state: state.pop("task/decoder.layers.0.bias"),
        lambda state: state.update({"weight_optimizer/momentum": torch.zeros(1)}),
    ],
    ids=["alpha", "shape", "supernet", "task", "optimizer"],
)
def test_a_state_that_does_not_fit_is_refused_with_its_file(
    tiny_dataset: Dataset, tmp_path: Path, damage: Callable[[dict[str, Tensor]], object]
) -> None:
    phase = SearchPhase(config(), tiny_dataset)
    state = phase.state()
    damage(state)
    with pytest.raises(RunError) as caught:
        phase.load_state(state, tmp_path / "search.checkpoint.safetensors")
    assert "search.checkpoint.safetensors" in str(caught.value)


@pytest.mark.parametrize("space", ["darts", "nas-bench-201"])
def test_a_search_that_cannot_fit_is_refused_before_anything_is_built(
    space: str, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "available_memory_bytes", lambda: 2**30)
    monkeypatch.setattr(Supernet, "__init__", None)
    monkeypatch.setattr(Nb201Supernet, "__init__", None)
    with pytest.raises(RunError, match=r"a step of the search phase needs [\d,.]+ GiB .* 1\.0 GiB"):
        SearchPhase(config(space=space, channels=1024, cells=20), tiny_dataset)
