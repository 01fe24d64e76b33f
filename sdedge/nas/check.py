"""What a search cannot do, refused before any data are opened or a network is built."""

import torch

from sdedge.config import SearchConfig
from sdedge.device import select_device
from sdedge.errors import ConfigError
from sdedge.graphs import select_graphs
from sdedge.kernels import dispatch
from sdedge.nas.strategies import strategy_for
from sdedge.nas.strategy import Strategy
from sdedge.nas.tasks import task_name
from sdedge.nas.tasks.task import Task
from sdedge.space.spaces import get_space


def check_search(config: SearchConfig) -> None:
    """Raise ConfigError or KernelError for what cannot run here."""
    device = select_device(config.device)
    select_graphs(config.cuda_graphs, device)
    dispatch.resolve(config.impl, device, torch.float32)
    get_space(config.space, config.operations)
    strategy = strategy_for(config)
    if config.cuda_graphs and (strategy.sparse or strategy.auxiliary_loss):
        raise ConfigError(
            f"strategy {strategy.name} computes other operations in every pass, which a recorded "
            "step cannot; leave out --cuda-graphs"
        )
    task_name(config.task)


def check_task(strategy: Strategy, task: Task, name: str) -> None:
    """Raise ConfigError where a strategy needs what the task called `name` does not give."""
    if strategy.second_order and task.harmonised:
        raise ConfigError(
            f"strategy {strategy.name} differentiates twice, and the {name} task holds "
            "its harmonising factor constant, so that the result would be wrong by several "
            "per cent; use strategy darts, or task classification or mim"
        )
    if strategy.auxiliary_loss and not task.reads_classes:
        raise ConfigError(
            f"strategy {strategy.name} compares class scores, which the {name} task "
            "does not learn; use one that classifies, as semantic or classification"
        )
