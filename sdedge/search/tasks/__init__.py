"""Search tasks by name."""

from collections.abc import Callable
from functools import partial

from sdedge.config import SearchConfig
from sdedge.errors import ConfigError
from sdedge.search.tasks.semantic import SemanticTask
from sdedge.search.tasks.task import Task

# The rows of Table VIII of Semantic-DARTS.
TASKS: dict[str, Callable[..., Task]] = {
    "semantic": partial(SemanticTask, hide=True, classify=True, reconstruct=True),
    "classification": partial(SemanticTask, hide=False, classify=True, reconstruct=False),
    "masked-classification": partial(SemanticTask, hide=True, classify=True, reconstruct=False),
    "mim": partial(SemanticTask, hide=True, classify=False, reconstruct=True),
    "reconstruction": partial(SemanticTask, hide=False, classify=False, reconstruct=True),
}


def check_task(name: str) -> None:
    """Raise ConfigError, listing what there is, for an unknown task."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}; there is: {', '.join(TASKS)}")


def build_task(
    config: SearchConfig,
    *,
    feature_channels: int,
    image_size: int,
    value_range: tuple[float, float],
) -> Task:
    """The task that `config` names, for features (N, feature_channels, H/4, W/4).

    Raises ConfigError for an unknown name, or a mask or image size that the task cannot use.
    """
    check_task(config.task)
    return TASKS[config.task](
        config,
        feature_channels=feature_channels,
        image_size=image_size,
        value_range=value_range,
    )
