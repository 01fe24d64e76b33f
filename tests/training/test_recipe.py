"""The recipe: learning rate, loss, augmentation and precision."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from sdedge.config import TrainConfig
from sdedge.data.augment import Augmentation
from sdedge.errors import ConfigError
from sdedge.training.recipe import augmentation, autocast_dtype, learning_rate, training_loss


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 100, "lr": 0.5, "lr_min": 0.02, **settings})


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.5),
        (25, 0.02 + 0.48 * (1 + math.sqrt(0.5)) / 2),
        (50, 0.26),
        (75, 0.02 + 0.48 * (1 - math.sqrt(0.5)) / 2),
        (100, 0.02),
    ],
)
def test_the_rate_falls_by_half_a_cosine(epoch: float, rate: float) -> None:
    assert learning_rate(config(), epoch) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.0), (1, 0.1), (2.5, 0.25), (5, 0.5), (52.5, 0.26), (100, 0.02)]
)
def test_a_warm_up_is_linear_and_the_cosine_starts_after_it(epoch: float, rate: float) -> None:
    assert learning_rate(config(warmup_epochs=5.0), epoch) == pytest.approx(rate)


def test_the_rate_has_no_jump_and_no_rise_after_the_warm_up() -> None:
    chosen = config(warmup_epochs=5.0)
    rates = [learning_rate(chosen, epoch / 10) for epoch in range(1001)]
    top = rates.index(max(rates))
    assert top == 50
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.011


def test_smoothing_spreads_the_labels_and_the_auxiliary_head_adds_its_share() -> None:
    torch.manual_seed(0)
    logits, auxiliary, labels = torch.randn(6, 4), torch.randn(6, 4), torch.randint(4, (6,))
    smooth = 0.9 * F.one_hot(labels, 4) + 0.1 / 4

    def cross_entropy(scores: torch.Tensor) -> torch.Tensor:
        return -(smooth * scores.log_softmax(dim=1)).sum(dim=1).mean()

    chosen = config(label_smoothing=0.1, auxiliary_weight=0.4)
    torch.testing.assert_close(training_loss(chosen, logits, None, labels), cross_entropy(logits))
    torch.testing.assert_close(
        training_loss(chosen, logits, auxiliary, labels),
        cross_entropy(logits) + 0.4 * cross_entropy(auxiliary),
    )


def test_without_smoothing_the_loss_is_the_cross_entropy() -> None:
    logits, labels = torch.randn(6, 4), torch.randint(4, (6,))
    assert torch.equal(
        training_loss(config(), logits, None, labels), F.cross_entropy(logits, labels)
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Augmentation(crop_padding=4, flip=True, cutout=16)),
        ({"augmentation": "none", "cutout": 0}, Augmentation()),
        (
            {"augmentation": "resized-crop", "cutout": 0, "colour_jitter": True},
            Augmentation(resized_crop=True, flip=True, colour_jitter=(0.4, 0.4, 0.4, 0.2)),
        ),
    ],
    ids=["cifar", "none", "imagenet"],
)
def test_the_augmentation_is_that_of_the_papers(
    settings: dict[str, Any], expected: Augmentation
) -> None:
    assert augmentation(config(**settings)) == expected


def test_bf16_is_refused_where_the_device_does_not_compute_in_it() -> None:
    with pytest.raises(ConfigError, match=r"precision is 'bf16', which cpu .* use fp32"):
        autocast_dtype(config(precision="bf16"), torch.device("cpu"))


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_the_cpu_computes_in_fp32(precision: str) -> None:
    assert autocast_dtype(config(precision=precision), torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("precision", "supported", "expected"),
    [("auto", True, torch.bfloat16), ("auto", False, None), ("fp32", True, None)],
)
def test_a_gpu_takes_bf16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    supported: bool,
    expected: torch.dtype | None,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert autocast_dtype(config(precision=precision), torch.device("cuda")) is expected


def test_the_linear_schedule_is_the_imagenet_recipes() -> None:
    config = TrainConfig.from_preset("imagenet", {})
    for epoch, rate in (
        (0, 0.5 / 5),  # a fifth of the full rate in the first of five epochs of warm-up
        (4, 0.5 * 241 / 245),
        (100.7, 0.5 * 145 / 245),  # moves once an epoch
        (244, 0.5 * 1 / 245),
        (245, 0.5 * 5 / (245 * 5)),  # the last five epochs fall at a fifth of the slope
        (249, 0.5 * 1 / (245 * 5)),
    ):
        assert learning_rate(config, epoch) == pytest.approx(rate), epoch
