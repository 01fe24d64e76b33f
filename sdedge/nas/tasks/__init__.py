"""Search tasks by name."""

from collections.abc import Callable
from functools import partial

from sdedge.config import SearchConfig
from sdedge.data.dataset import Channels
from sdedge.errors import ConfigError
from sdedge.escape import short
from sdedge.names import choose
from sdedge.nas.tasks.colorization import ColorizationTask
from sdedge.nas.tasks.jigsaw import JigsawTask
from sdedge.nas.tasks.rotation import RotationTask
from sdedge.nas.tasks.semantic import SemanticTask
from sdedge.nas.tasks.task import Task, TaskSetting
from sdedge.registration import Registration, register

TASKS: dict[str, Callable[[SearchConfig, TaskSetting], Task]] = {
    # The rows of Table VIII of Semantic-DARTS.
    "semantic": partial(SemanticTask, hide=True, classify=True, reconstruct=True),
    "classification": partial(SemanticTask, hide=False, classify=True, reconstruct=False),
    "masked-classification": partial(SemanticTask, hide=True, classify=True, reconstruct=False),
    "mim": partial(SemanticTask, hide=True, classify=False, reconstruct=True),
    "reconstruction": partial(SemanticTask, hide=False, classify=False, reconstruct=True),
    # The rows of its Table VII: proxies alone, and jointly with classification.
    "rotation": partial(RotationTask, classify=False),
    "joint-rotation": partial(RotationTask, classify=True),
    "colorization": partial(ColorizationTask, classify=False),
    "joint-colorization": partial(ColorizationTask, classify=True),
    "jigsaw": partial(JigsawTask, classify=False),
    "joint-jigsaw": partial(JigsawTask, classify=True),
}


def register_task(name: str, build: Callable[[SearchConfig, TaskSetting], Task]) -> Registration:
    """Make a task from outside known as `name`; `build` makes it for a search.

    It stays known until the registration is undone, or to the end of its `with` block. Raises
    ConfigError for a name that is taken or cannot be one.
    """
    if not callable(build):
        raise ConfigError(f"{short(build)} cannot be registered: it must be a function or a class")
    return register(TASKS, name, build, kind="task")


def task_name(name: object) -> str:
    """The task that `name` means, as it is spelled; ConfigError, listing them, for none."""
    return choose(name, TASKS, "task")


def build_task(
    config: SearchConfig,
    *,
    feature_channels: int,
    image_size: int,
    value_range: tuple[float, float],
    classes: int,
    mean: Channels,
    std: Channels,
) -> Task:
    """The task that `config` names, for what `TaskSetting` describes.

    Raises ConfigError for an unknown name, or a mask or image size that the task cannot use.
    """
    name = task_name(config.task)
    setting = TaskSetting(feature_channels, image_size, value_range, classes, mean, std)
    return TASKS[name](config, setting)
