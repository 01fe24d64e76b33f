"""A small bilevel problem of any strategy and task, and a batch for either level."""

from typing import Any

import torch

from sdedge.config import SearchConfig
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.companion import Companion
from sdedge.nas.strategies import get_strategy
from sdedge.nas.tasks import build_task
from sdedge.nas.tasks.task import TaskBatch
from sdedge.space.spaces import SPACES

SIZE, CLASSES, RANGE = 8, 3, (-2.0, 2.0)


def build(
    strategy: str = "darts",
    task: str = "semantic",
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Bilevel:
    torch.manual_seed(0)
    method = get_strategy(strategy)
    size = {"channels": 2 * method.partial, "cells": 3, "impl": "reference"}
    config = SearchConfig(
        strategy=strategy, task=task, patch_size=4, mask_ratio=0.5, **{**size, **settings}
    )
    space = SPACES[config.space]
    supernet = space.supernet(
        config, CLASSES, method.extra_operations, method.partial, method.split
    )
    heads = build_task(
        config,
        feature_channels=supernet.feature_channels,
        image_size=SIZE,
        value_range=RANGE,
        classes=CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    alphas = {
        name: torch.randn_like(alpha, dtype=dtype).requires_grad_()
        for name, alpha in method.initial_alphas(space, torch.device("cpu")).items()
    }
    companion = None
    if method.auxiliary_loss:
        other = space.supernet(
            config, CLASSES, method.extra_operations, method.partial, method.split
        )
        companion = Companion(other, space).to(dtype)
    return Bilevel(supernet.to(dtype), heads.to(dtype), alphas, method, config, companion=companion)


def batches(bilevel: Bilevel) -> tuple[TaskBatch, TaskBatch]:
    torch.manual_seed(1)
    dtype = bilevel.weight_list[0].dtype
    train, search = (
        bilevel.task.prepare(
            torch.randn(4, 3, SIZE, SIZE, dtype=dtype), torch.randint(CLASSES, (4,))
        )
        for _ in range(2)
    )
    return train, search
