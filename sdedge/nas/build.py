"""What a search moves, made from its settings: supernet, task, companion, alpha, budget."""

from collections.abc import Mapping
from functools import partial

import torch

from sdedge.config import SearchConfig
from sdedge.data.dataset import Dataset
from sdedge.device import explain_out_of_memory, on_device, require_memory, seed_step
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.budget import Budget, Costs
from sdedge.nas.check import check_task
from sdedge.nas.companion import Companion
from sdedge.nas.strategy import OperationMask, Strategy
from sdedge.nas.tasks import build_task
from sdedge.space.footprint import step_bytes
from sdedge.space.spaces import get_space


def build_bilevel(
    config: SearchConfig,
    dataset: Dataset,
    strategy: Strategy,
    device: torch.device,
    costs: Mapping[str, Costs] | None = None,
    operation_mask: OperationMask | None = None,
) -> Bilevel:
    """A bilevel search at its start, drawn from the seed of `config`.

    Raises ConfigError where strategy, task and data do not fit each other, and for a step that
    needs more memory than the device has.
    """
    space = get_space(config.space, config.operations)
    convolutions = space.convolutions(
        *(config.channels, config.cells, dataset.image_size),
        partial=strategy.partial,
        sparse=strategy.sparse or operation_mask is not None,
    )
    require_memory(step_bytes(convolutions, config.batch_size), device, "search")

    seed_step(config.seed, "initialise")
    supernet_of_space = partial(
        space.supernet,
        config,
        len(dataset.classes),
        strategy.extra_operations,
        strategy.partial,
        strategy.split,
    )
    with explain_out_of_memory(device):
        supernet = supernet_of_space()
    task = build_task(
        config,
        feature_channels=supernet.feature_channels,
        image_size=dataset.image_size,
        value_range=dataset.value_range,
        classes=len(dataset.classes),
        mean=dataset.mean,
        std=dataset.std,
    )
    check_task(strategy, task, config.task)
    companion = Companion(supernet_of_space(), space) if strategy.auxiliary_loss else None
    return Bilevel(
        on_device(supernet, device),
        on_device(task, device),
        strategy.initial_alphas(space, device),
        strategy,
        config,
        Budget(costs, device) if costs else None,
        operation_mask,
        on_device(companion, device) if companion else None,
    )
