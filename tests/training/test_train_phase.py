"""The training as a phase: resumable anywhere to the bit, and what it hands over at the end."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sdedge import device
from sdedge.config import TrainConfig
from sdedge.data.dataset import Dataset, Split
from sdedge.errors import ConfigError, RunError
from sdedge.events import Reporter
from sdedge.genotype import published
from sdedge.loop import MEASURED, run_phase
from sdedge.run import RunDir
from sdedge.space.darts.network import Network
from sdedge.training.phase import TrainPhase
from sdedge.training.runner import run_training

EPOCHS, STEPS = 2, 2
GENOTYPE = published()["DARTS_V2"].genotype


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "dataset": "tiny",
            "device": "cpu",
            "epochs": EPOCHS,
            "batch_size": 8,
            "epoch_images": 8 * STEPS,
            "channels": 4,
            "cells": 3,
            "lr": 0.1,
            "cutout": 4,
            "auxiliary": False,
            "ema_decay": 0.9,
            **settings,
        }
    )


def phase_of(dataset: Dataset, **settings: Any) -> TrainPhase:
    return TrainPhase(config(**settings), GENOTYPE, dataset)


def timeless(run: RunDir) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for record in run.read_metrics("train")
    ]


@pytest.fixture(scope="module")
def straight(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The state and the records of a run that nothing stopped."""
    run = RunDir.create("train", tmp_path_factory.mktemp("straight"))
    phase = phase_of(tiny_dataset)
    run_phase(phase, run, reporter, resume=False, checkpoint_seconds=1e9)
    return {name: tensor.clone() for name, tensor in phase.state().items()}, timeless(run)


def test_the_state_holds_all_that_later_steps_depend_on(
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]],
) -> None:
    assert {name.split("/")[0] for name in straight[0]} == {"network", "optimizer", "ema"}


@pytest.mark.parametrize("at", [(e, s) for e in range(EPOCHS) for s in range(STEPS + 1)])
def test_a_training_that_dies_anywhere_ends_as_one_that_did_not(
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]],
    tiny_dataset: Dataset,
    crash_and_resume: Callable[..., tuple[TrainPhase, RunDir]],
    at: tuple[int, int],
) -> None:
    resumed, run = crash_and_resume(lambda: phase_of(tiny_dataset), at, 0.0)
    state = resumed.state()
    assert state.keys() == straight[0].keys()
    assert all(torch.equal(state[name], straight[0][name]) for name in state)
    assert timeless(run) == straight[1]


def test_an_epoch_tells_accuracy_and_loss(
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]],
) -> None:
    first, last = straight[1]
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy"} <= first.keys()
    assert "test_accuracy_without_ema" not in first
    assert 0 <= last["test_accuracy_without_ema"] <= 1
    assert 0 <= last["test_accuracy"] <= 1


def test_the_finished_network_has_the_averaged_weights(
    straight: tuple[dict[str, Tensor], list[dict[str, Any]]], tiny_dataset: Dataset
) -> None:
    phase = phase_of(tiny_dataset)
    phase.load_state(straight[0], Path("here"))
    network = phase.finish()
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, straight[0][f"ema/{name}"])
    assert phase.evaluate()["test_accuracy"] == straight[1][-1]["test_accuracy"]


def test_without_an_average_the_finished_network_has_the_weights(tiny_dataset: Dataset) -> None:
    phase = phase_of(tiny_dataset, ema_decay=0.0)
    before = {name: tensor.clone() for name, tensor in phase.network.state_dict().items()}
    network = phase.finish()
    assert all(torch.equal(tensor, before[n]) for n, tensor in network.state_dict().items())


def test_evaluation_changes_nothing(tiny_dataset: Dataset) -> None:
    phase = phase_of(tiny_dataset)
    phase.begin_epoch(0)
    for step, batch in enumerate(phase.batches(0, 0)):
        phase.step(0, step, batch)
    before = {name: tensor.clone() for name, tensor in phase.state().items()}
    phase.end_epoch(EPOCHS - 1)
    after = phase.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    phase.begin_epoch(1)
    assert phase.network.training


def test_evaluation_counts_every_image_once(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """251 images are a batch of evaluation and one more."""
    labels = torch.zeros(251, dtype=torch.int64).numpy()
    labels[-1] = 1
    images = tiny_dataset.test.images[[0] * 251]
    dataset = replace(tiny_dataset, test=Split(images, labels))
    phase = phase_of(dataset)
    with torch.no_grad():
        phase.network.classifier.weight.zero_()
        phase.network.classifier.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    evaluated = phase.evaluate()
    assert evaluated["test_accuracy"] == pytest.approx(250 / 251)
    losses = -torch.tensor([1.0, 0.0, 0.0]).log_softmax(dim=0)
    expected = float(250 * losses[0] + losses[1]) / 251
    assert evaluated["test_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("averaged", [False, True], ids=["weights", "averaged weights"])
def test_a_blow_up_in_the_last_step_gives_no_weights(
    tiny_dataset: Dataset, reporter: Reporter, tmp_path: Path, averaged: bool
) -> None:
    phase, run = phase_of(tiny_dataset), RunDir.create("train", tmp_path / "run")
    step = phase.step

    def exploding(epoch: int, position: int, batch: Any) -> Mapping[str, Tensor]:
        values = step(epoch, position, batch)
        if (epoch, position) == (EPOCHS - 1, STEPS - 1):
            state = phase.state()
            name = "classifier.weight"
            tensor = state[f"ema/{name}" if averaged else f"network/{name}"]
            tensor.view(-1)[3] = torch.nan
        return values

    phase.step = exploding  # type: ignore[method-assign]
    with pytest.raises(RunError, match=r"diverged in epoch 2: \S+classifier\.weight is nan"):
        run_training(phase, run, reporter)
    assert not run.weights.exists()
    assert len(run.read_metrics("train")) == EPOCHS - 1


def test_drop_path_grows_linearly_and_the_rate_with_every_step(tiny_dataset: Dataset) -> None:
    phase = phase_of(tiny_dataset, epochs=10, drop_path=0.2, lr=0.1, lr_min=0.0, ema_decay=0.0)
    for epoch, probability in ((0, 0.0), (5, 0.1), (9, 0.18)):
        phase.begin_epoch(epoch)
        assert phase.network.drop_path_probability == pytest.approx(probability)
    phase.begin_epoch(0)
    batch = next(iter(phase.batches(0, 0)))
    rates = []
    for epoch, step in ((0, 0), (9, STEPS - 1)):  # a step stands for its middle
        phase.step(epoch, step, batch)
        rates.append(phase.optimizer.param_groups[0]["lr"])
    assert rates[0] < 0.1
    assert rates[1] > 0
    assert sum(rates) == pytest.approx(0.1), "half a cosine is symmetric"


def test_the_gradient_is_clipped(tiny_dataset: Dataset) -> None:
    phase = phase_of(
        tiny_dataset, gradient_clip=1e-3, lr=1.0, momentum=0.0, weight_decay=0.0, epochs=1000
    )
    before = [parameter.detach().clone() for parameter in phase.network.parameters()]
    phase.begin_epoch(0)
    phase.step(0, 0, next(iter(phase.batches(0, 0))))
    moves = [p.detach() - b for p, b in zip(phase.network.parameters(), before, strict=True)]
    assert float(torch.nn.utils.get_total_norm(moves)) == pytest.approx(1e-3, rel=1e-2)


def test_repeated_steps_lower_the_loss(tiny_dataset: Dataset) -> None:
    phase = phase_of(tiny_dataset, epochs=1000, augmentation="none", cutout=0)
    phase.begin_epoch(0)
    batch = next(iter(phase.batches(0, 0)))
    losses = [float(phase.step(0, 0, batch)["loss"]) for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_auxiliary_head_trains_where_the_images_are_large_enough(tiny_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"16 px.*--no-auxiliary"):
        phase_of(tiny_dataset, auxiliary=True)
    large = replace(
        tiny_dataset,
        image_size=32,
        train=Split(
            tiny_dataset.train.images.repeat(2, axis=1).repeat(2, axis=2), tiny_dataset.train.labels
        ),
    )
    phase = phase_of(large, auxiliary=True)
    phase.begin_epoch(0)
    phase.step(0, 0, next(iter(phase.batches(0, 0))))
    assert phase.network.auxiliary is not None
    gradient = phase.network.auxiliary.classifier.weight.grad
    assert gradient is not None
    assert float(gradient.norm()) > 0


def test_a_batch_larger_than_the_data_set_is_refused(tiny_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="batch_size is 25, but tiny has 24 training images"):
        phase_of(tiny_dataset, batch_size=25, epoch_images=None)


def test_bf16_on_the_cpu_is_refused(tiny_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="precision is 'bf16'"):
        phase_of(tiny_dataset, precision="bf16")


def test_the_description_is_what_a_user_of_the_weights_needs(tiny_dataset: Dataset) -> None:
    described = phase_of(tiny_dataset).description
    assert described.genotype == GENOTYPE
    assert (described.channels, described.cells, described.stem) == (4, 3, "cifar")
    assert described.classes == tiny_dataset.classes
    assert (described.mean, described.std) == (tiny_dataset.mean, tiny_dataset.std)
    assert (described.image_size, described.dataset) == (16, "tiny")


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("network/classifier.weight"),
        lambda state: state.update({"network/classifier.weight": torch.zeros(9, 9)}),
        lambda state: state.pop("ema/updates"),
        lambda state: state.pop("ema/classifier.weight"),
        lambda state: state.update({"optimizer/momentum": torch.zeros(1)}),
    ],
    ids=["network", "shape", "updates", "ema", "optimizer"],
)
def test_a_state_that_does_not_fit_is_refused_with_its_file(
    tiny_dataset: Dataset, tmp_path: Path, damage: Callable[[dict[str, Tensor]], object]
) -> None:
    phase = phase_of(tiny_dataset)
    state = phase.state()
    damage(state)
    with pytest.raises(RunError) as caught:
        phase.load_state(state, tmp_path / "train.checkpoint.safetensors")
    assert "train.checkpoint.safetensors" in str(caught.value)


def test_a_training_that_cannot_fit_is_refused_before_anything_is_built(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "available_memory_bytes", lambda: 2**30)
    monkeypatch.setattr(Network, "__init__", None)
    with pytest.raises(RunError, match=r"a step of the train phase needs [\d,.]+ GiB .* 1\.0 GiB"):
        phase_of(tiny_dataset, channels=1024, cells=20)
