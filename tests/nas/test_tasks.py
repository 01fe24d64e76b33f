"""Search tasks: the decoder, the harmonised loss, and the rows of the paper's Table VIII."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.data.cifar import CIFAR
from sdedge.data.dataset import Dataset
from sdedge.errors import ConfigError
from sdedge.nas.tasks import TASKS, build_task
from sdedge.nas.tasks.decoder import Decoder
from sdedge.nas.tasks.task import Task, TaskBatch, harmonise
from sdedge.space.supernet import SupernetOutput

SIZE, PATCH, CHANNELS, CLASSES = 16, 4, 16, 5
RANGE = (-2.0, 2.0)
TABLE_VIII = ("semantic", "classification", "masked-classification", "mim", "reconstruction")
RECONSTRUCTING = ("semantic", "mim", "reconstruction")
CLASSIFYING = ("semantic", "classification", "masked-classification")
HIDING = ("semantic", "masked-classification", "mim")


def task(name: str = "semantic", image_size: int = SIZE, **settings: Any) -> Task:
    torch.manual_seed(0)
    return build_task(
        SearchConfig(task=name, patch_size=PATCH, **settings),
        feature_channels=CHANNELS,
        image_size=image_size,
        value_range=RANGE,
        classes=CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def images_and_labels() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(6, 3, SIZE, SIZE), torch.randint(CLASSES, (6,))


def supernet_output() -> SupernetOutput:
    torch.manual_seed(2)
    return SupernetOutput(
        torch.randn(6, CLASSES, requires_grad=True),
        torch.randn(6, CHANNELS, SIZE // 4, SIZE // 4, requires_grad=True),
    )


@pytest.mark.parametrize(("channels", "weights"), [(256, 4_018_819), (64, 252_067)])
def test_the_decoder_has_the_published_number_of_weights(channels: int, weights: int) -> None:
    with torch.device("meta"):
        decoder = Decoder(channels, RANGE)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == weights


@pytest.mark.parametrize(("channels", "millions"), [(256, 312.1), (64, 19.8)])
def test_the_decoder_costs_the_published_multiply_accumulates(
    channels: int, millions: float
) -> None:
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # Each element of a convolution's output, and of a transposed one's input, meets one slice.
        met = output if isinstance(layer, nn.Conv2d) else inputs[0]
        macs += met.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        decoder = Decoder(channels, RANGE)
        for layer in decoder.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(add)
        decoder(torch.empty(1, channels, 8, 8))
    assert macs / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_decoder_restores_the_size_of_the_image_within_its_range() -> None:
    torch.manual_seed(0)
    decoder = Decoder(8, (-1.99, 2.13))
    last = decoder.layers[-2]
    assert isinstance(last, nn.Conv2d)
    last.bias = nn.Parameter(torch.tensor([-10.0, 0.0, 10.0]))
    images = decoder(torch.randn(2, 8, 3, 5)).detach()
    assert images.shape == (2, 3, 12, 20)
    assert float(images.min()) == pytest.approx(-1.99)
    assert float(images.max()) == pytest.approx(2.13)


@pytest.mark.parametrize(
    ("name", "expected"), [("cifar10", (-1.9892, 2.1268)), ("cifar100", (-1.8975, 2.0254))]
)
def test_the_range_of_cifar_is_that_of_its_normalised_pixels(
    tiny_dataset: Dataset, name: str, expected: tuple[float, float]
) -> None:
    dataset = replace(tiny_dataset, mean=CIFAR[name].mean, std=CIFAR[name].std)
    assert dataset.value_range == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_harmonised_loss_is_twice_the_first_to_the_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    magnitudes = 10 ** (8 * torch.rand(2, 2000, dtype=dtype) - 4)
    for classification, reconstruction in magnitudes.unbind(dim=1):
        assert torch.equal(harmonise(classification, reconstruction), 2 * classification)


def test_the_gradient_of_the_harmonised_loss_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    shared = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def losses() -> tuple[Tensor, Tensor]:
        return shared.exp().sum(), 1e-3 * (shared - 3).square().sum()

    (gradient,) = torch.autograd.grad(harmonise(*losses()), shared)
    classification, reconstruction = losses()
    (first,) = torch.autograd.grad(classification, shared, retain_graph=True)
    (second,) = torch.autograd.grad(reconstruction, shared)
    torch.testing.assert_close(gradient, first + (classification / reconstruction) * second)


def test_a_perfect_reconstruction_leaves_the_loss_finite() -> None:
    weights = torch.ones(3, requires_grad=True)
    loss = harmonise(weights.sum(), (weights - 1).square().sum())
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 6
    assert weights.grad is not None
    assert torch.equal(weights.grad, torch.ones(3))


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_of_the_whole_task_is_twice_the_cross_entropy_to_the_bit(seed: int) -> None:
    semantic, (images, labels) = task(), images_and_labels()
    torch.manual_seed(seed)
    loss = semantic.loss(supernet_output(), semantic.prepare(images, labels))
    assert torch.equal(loss.total, 2 * loss.parts["cross_entropy"])
    assert torch.equal(loss.parts["loss"], loss.total)


@pytest.mark.parametrize("name", TABLE_VIII)
def test_each_task_descends_its_own_losses(name: str) -> None:
    chosen, (images, labels) = task(name), images_and_labels()
    batch, output = chosen.prepare(images, labels), supernet_output()
    loss = chosen.loss(output, batch)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert (output.logits.grad is not None) is (name in CLASSIFYING)
    assert (output.features.grad is not None) is (name in RECONSTRUCTING)
    assert ("accuracy" in loss.parts) is (name in CLASSIFYING)
    assert ("reconstruction" in loss.parts) is (name in RECONSTRUCTING)
    assert not any(part.requires_grad for part in loss.parts.values())
    assert (len(list(chosen.parameters())) > 0) is (name in RECONSTRUCTING)


@pytest.mark.parametrize("name", TABLE_VIII)
def test_a_task_hides_patches_or_shows_the_whole_image(name: str) -> None:
    images, labels = images_and_labels()
    batch = task(name, mask_fill=0.5).prepare(images, labels)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.labels, labels)
    changed = (batch.inputs != images).float().mean()
    if name in HIDING:
        assert batch.target.sum(dim=1).tolist() == [10] * 6  # of 16 patches, at the paper's ratio
        assert float(changed) == pytest.approx(10 / 16)
        assert set(batch.inputs[batch.inputs != images].tolist()) == {0.5}
    else:
        assert torch.equal(batch.inputs, images)
        assert batch.target.all()


@pytest.mark.parametrize("name", RECONSTRUCTING)
def test_the_reconstruction_error_is_that_of_the_pixels_the_mask_names(name: str) -> None:
    chosen, (images, labels) = task(name), images_and_labels()
    batch, output = chosen.prepare(images, labels), supernet_output()
    squares = (chosen.get_submodule("decoder")(output.features) - images).square()
    if name in HIDING:
        squares = squares[batch.inputs != images]
    error = chosen.loss(output, batch).parts["reconstruction"]
    torch.testing.assert_close(error, squares.mean().detach())


def test_accuracy_and_cross_entropy_are_those_of_the_logits() -> None:
    chosen, (images, labels) = task("classification"), images_and_labels()
    output = SupernetOutput(torch.zeros(6, CLASSES), torch.zeros(0))
    output.logits[:, int(labels[0])] = 2.0
    loss = chosen.loss(output, chosen.prepare(images, labels))
    assert torch.equal(loss.total, F.cross_entropy(output.logits, labels))
    assert float(loss.parts["accuracy"]) == pytest.approx(
        float((labels == labels[0]).double().mean())
    )


@pytest.mark.parametrize("name", TABLE_VIII)
def test_the_loss_of_a_prepared_batch_is_the_same_at_every_call(name: str) -> None:
    chosen, (images, labels) = task(name), images_and_labels()
    batch, output = chosen.prepare(images, labels), supernet_output()
    assert torch.equal(chosen.loss(output, batch).total, chosen.loss(output, batch).total)


@pytest.mark.parametrize("name", HIDING)
def test_every_preparation_draws_a_new_mask(name: str) -> None:
    chosen, (images, labels) = task(name), images_and_labels()

    def mask(seed: int) -> Tensor:
        torch.manual_seed(seed)
        batch: TaskBatch = chosen.prepare(images, labels)
        return batch.target

    assert torch.equal(mask(0), mask(0))
    assert not torch.equal(mask(0), mask(1))


@pytest.mark.parametrize("name", TABLE_VIII)
def test_pure_reconstruction_sees_the_images_as_they_are(name: str) -> None:
    expected = Augmentation(crop_padding=4, flip=True) if name in CLASSIFYING else Augmentation()
    assert task(name).augmentation == expected


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        task("crossword")
    assert "'crossword'" in str(caught.value)
    assert all(name in str(caught.value) for name in TASKS)


@pytest.mark.parametrize(
    ("name", "image_size", "named"),
    [("semantic", 18, "patch_size is 4"), ("reconstruction", 18, "multiple of 4")],
)
def test_an_image_size_that_a_task_cannot_use_is_refused(
    name: str, image_size: int, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        task(name, image_size)


@pytest.mark.parametrize("name", ["classification"])
def test_a_task_without_a_mask_takes_any_image_size(name: str) -> None:
    batch = task(name, image_size=19).prepare(torch.zeros(2, 3, 19, 19), torch.tensor([0, 1]))
    assert batch.inputs.shape == (2, 3, 19, 19)
