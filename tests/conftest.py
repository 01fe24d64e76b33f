"""What several rooms need: one thread, a tiny data set, a reporter, and a survived crash."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdedge.data.dataset import Dataset, Split
from sdedge.events import Reporter, silent
from sdedge.loop import Phase, run_phase
from sdedge.run import RunDir

# Without a GPU the fused kernels run in triton's interpreter, which is chosen when triton is
# imported: none of the imports above does that.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The networks of the tests are too small to share a step between threads.
torch.set_num_threads(1)


class Crash(Exception):
    """Stands for the death of the process."""


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore SIGINT."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.fixture(scope="session")
def reporter() -> Reporter:
    return silent


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """24 images to train on and 10 to test, 16 px, three classes, in no order."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.arange(count) % 3
        noise = rng.integers(0, 160, (count, 16, 16, 3))
        return Split((noise + 40 * labels[:, None, None, None]).astype(np.uint8), labels)

    return Dataset(
        name="tiny",
        classes=("dark", "grey", "bright"),
        image_size=16,
        mean=(0.46, 0.47, 0.48),
        std=(0.21, 0.22, 0.23),
        train=split(24),
        test=split(10),
    )


@pytest.fixture
def crash_and_resume(
    tmp_path: Path, reporter: Reporter
) -> Callable[[Callable[[], Phase], tuple[int, int], float], tuple[Any, RunDir]]:
    """Run a phase that dies just before step `at`, and run a new one from its checkpoint.

    A step one past the last of an epoch is its evaluation.
    """

    def run_twice(
        make: Callable[[], Phase], at: tuple[int, int], checkpoint_seconds: float
    ) -> tuple[Any, RunDir]:
        run = RunDir.create("crashed", tmp_path / "crashed")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
            dying = make()
            step, end_epoch = dying.step, dying.end_epoch

            def step_or_die(epoch: int, position: int, batch: Any) -> Mapping[str, torch.Tensor]:
                if (epoch, position) == at:
                    raise Crash
                return step(epoch, position, batch)

            def end_epoch_or_die(epoch: int) -> dict[str, Any]:
                if (epoch, dying.steps) == at:
                    raise Crash
                return end_epoch(epoch)

            patch.setattr(dying, "step", step_or_die)
            patch.setattr(dying, "end_epoch", end_epoch_or_die)
            run_phase(dying, run, reporter, resume=False, checkpoint_seconds=checkpoint_seconds)
        torch.manual_seed(0)  # a new process starts with other random numbers
        resumed = make()
        run_phase(resumed, run, reporter, resume=True, checkpoint_seconds=checkpoint_seconds)
        return resumed, run

    return run_twice
