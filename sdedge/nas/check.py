"""What a search cannot do, refused before any data are opened or a network is built."""

import math

import torch

from sdedge.config import SearchConfig
from sdedge.device import select_device
from sdedge.errors import ConfigError
from sdedge.escape import short
from sdedge.graphs import select_graphs
from sdedge.kernels import dispatch
from sdedge.nas.strategies import strategy_for
from sdedge.nas.strategy import Strategy
from sdedge.nas.tasks import task_name
from sdedge.nas.tasks.task import Task
from sdedge.operations import Operation, get_operation, is_built_in
from sdedge.space.spaces import get_space

_SIDES = (4, 5)  # of an image that an operation is tried on: an even and an odd number of pixels


def check_search(config: SearchConfig) -> None:
    """Raise ConfigError or KernelError for what cannot run here; the random state stays."""
    device = select_device(config.device)
    select_graphs(config.cuda_graphs, device)
    dispatch.resolve(config.impl, device, torch.float32)
    for name in get_space(config.space, config.operations).operations:
        if not is_built_in(name, config.space):
            _check_operation(get_operation(name, config.space), config.channels)
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


def _check_operation(operation: Operation, channels: int) -> None:
    """Raise ConfigError for an operation from outside that fails, or gives a wrong shape."""
    image = torch.zeros(1, channels, *_SIDES)
    for stride in (1, 2):
        expected = (1, channels, *(math.ceil(side / stride) for side in _SIDES))
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                found = operation.module(channels, stride, search=True).eval()(image)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"operation {operation.name} fails at stride {stride} on {tuple(image.shape)}: "
                f"{type(error).__name__}: {short(str(error))}"
            ) from error
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else short(found)
        if shape != expected:
            raise ConfigError(
                f"operation {operation.name} gives {shape} at stride {stride} on "
                f"{tuple(image.shape)}; it must give {expected}"
            )
    _ = operation.fused_form  # ConfigError where there is no such function
