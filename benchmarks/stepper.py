"""One search iteration, plain or fused, in this process or in one of its own.

`search_step.py` and `gpu_suite.py` time it. Run as a program this reads one JSON value a line, a
job and then calls of `Stepper`'s methods, and answers each with one: so every form has its own peak
of memory, and forms that are compared can take turns.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch

from sdedge.config import SearchConfig
from sdedge.device import make_deterministic, on_device, select_device
from sdedge.errors import BenchError
from sdedge.graphs import Step, select_graphs
from sdedge.kernels import chosen
from sdedge.nas.bilevel import Bilevel
from sdedge.nas.strategies import get_strategy
from sdedge.nas.tasks import build_task
from sdedge.nas.tasks.task import TaskBatch
from sdedge.space.darts.supernet import Supernet
from sdedge.space.spaces import get_space

# plain: module by module as in the public DARTS code, in torch's default memory layout, without
# the bit-for-bit repeatability that a resumable search needs; fused: as `sdedge search` runs;
# graphs: the same with --cuda-graphs.
Form = Literal["plain", "fused", "graphs"]
CLASSES = 10
VALUE_RANGE = (-2.0, 2.0)  # of normalised pixels
PROFILE_ROWS = 12

_CPU, _CUDA = torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA


@dataclass(frozen=True)
class Setting:
    """A supernet, and a batch for it."""

    name: str
    channels: int
    cells: int
    batch: int
    image_size: int = 32

    @classmethod
    def preset(cls, name: str) -> Self:
        """That of a preset of `sdedge search`."""
        config = SearchConfig.from_preset(name, {})
        return cls(name, config.channels, config.cells, config.batch_size)


class Stepper:
    """The semantic task with its decoder, on noise; first-order DARTS. The same at every start."""

    def __init__(
        self,
        setting: Setting,
        form: Form,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = device
        self._before = self._held()
        torch.manual_seed(0)
        config = SearchConfig(
            channels=setting.channels,
            cells=setting.cells,
            batch_size=setting.batch,
            impl="reference" if form == "plain" else "auto",
            cuda_graphs=form == "graphs",
        )
        supernet = Supernet(
            channels=config.channels, cells=config.cells, classes=CLASSES, impl=config.impl
        )
        task = build_task(
            config,
            feature_channels=supernet.feature_channels,
            image_size=setting.image_size,
            value_range=VALUE_RANGE,
            classes=CLASSES,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )
        for module in (supernet, task):
            module.to(device, dtype)
            if form != "plain":
                on_device(module, device)
        strategy = get_strategy("darts")
        alphas = {
            name: alpha.detach().to(dtype).requires_grad_()
            for name, alpha in strategy.initial_alphas(get_space("darts"), device).items()
        }
        self.bilevel = Bilevel(supernet, task, alphas, strategy, config)
        graphs = select_graphs(config.cuda_graphs, device)
        self._alpha_step = Step(self.bilevel.alpha_step, graphs)
        self._weight_step = Step(self.bilevel.weight_step, graphs)
        layout = torch.contiguous_format if form == "plain" else torch.channels_last
        self.train, self.search = (self._batch(setting, dtype, layout) for _ in range(2))

    def _batch(
        self, setting: Setting, dtype: torch.dtype, layout: torch.memory_format
    ) -> TaskBatch:
        shape = (setting.batch, 3, setting.image_size, setting.image_size)
        images = torch.randn(shape).clamp(*VALUE_RANGE).to(self.device, dtype)
        labels = torch.randint(CLASSES, (setting.batch,)).to(self.device)
        return self.bilevel.task.prepare(images.contiguous(memory_format=layout), labels)

    def step(self, count: int = 1) -> float:
        """Seconds of a search iteration, an alpha step and a weight step; the mean of some."""
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            self._alpha_step(self.train, self.search)
            self._weight_step(self.train)
        self._wait()
        return (time.perf_counter() - start) / count

    @torch.no_grad()
    def validation(self, count: int = 1) -> float:
        """Seconds of the forward pass that validates one batch; the mean of some."""
        modules = (self.bilevel.supernet, self.bilevel.task)
        for module in modules:
            module.eval()
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            self.bilevel.loss(self.search)
        self._wait()
        seconds = (time.perf_counter() - start) / count
        for module in modules:
            module.train()
        return seconds

    @torch.no_grad()
    def loss(self) -> float:
        """The loss where the steps so far have led."""
        return float(self.bilevel.loss(self.search).total)

    def memory(self) -> dict[str, int]:
        """The peak so far, over what was held before the supernet was built; and of the process."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = resident_bytes("VmHWM")
        return {
            "peak_growth_bytes": peak - self._before,
            "peak_resident_bytes": resident_bytes("VmHWM"),
        }

    def kernels(self) -> dict[str, str]:
        """Which route each fused operator took."""
        return chosen()

    def launches(self) -> int:
        """Launches from the host in one iteration on CUDA: of kernels, or of a graph of them."""
        with torch.profiler.profile(activities=[_CUDA, _CPU], acc_events=True) as profile:
            self.step()
        launches = ("LaunchKernel", "GraphLaunch")
        averages = profile.key_averages()
        return sum(event.count for event in averages if any(kind in event.key for kind in launches))

    def profile(self) -> str:
        """The operators of one iteration that take the processor longest by themselves."""
        with torch.profiler.profile(activities=[_CPU], acc_events=True) as profile:
            self.step()
        averages = profile.key_averages()
        return str(averages.table(sort_by="self_cpu_time_total", row_limit=PROFILE_ROWS))

    def _held(self) -> int:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        return resident_bytes("VmRSS")

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def resident_bytes(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Resident memory of this process, now or at its peak (getrusage's includes the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/self/status has no {field}; memory can be measured on Linux only")


class Child:
    """A `Stepper` in a process of its own; a context."""

    def __init__(
        self,
        setting: Setting,
        form: Form,
        device: torch.device,
        *,
        threads: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.form = form
        # As the command line does, and for the same reason: see sdedge/cli/main.py.
        inherited = {"GOMP_SPINCOUNT": "5000", **os.environ}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**inherited, **(environment or {})},
        )
        self._ask([asdict(setting), form, str(device), threads])

    def call(self, method: str, *arguments: int) -> Any:
        """Call a method of the `Stepper`; BenchError when the process has ended."""
        return self._ask([method, arguments])

    def _ask(self, question: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(question, allow_nan=False), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            answer = ""
        else:
            answer = self._process.stdout.readline()
        if not answer:
            self._process.communicate()
            code = self._process.returncode
            raise BenchError(
                f"the process of the {self.form} form ended with exit code {code}"
                + (" (out of memory?)" if code == -9 else "; its error is above")
            )
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()


def main() -> None:
    """Serve the parent until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    setting, form, device, threads = json.loads(sys.stdin.readline())
    if threads:
        torch.set_num_threads(threads)
    if form == "plain":
        torch.backends.cudnn.benchmark = True
    else:
        make_deterministic()
    stepper = Stepper(Setting(**setting), form, select_device(device))
    print("true", file=answers, flush=True)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        print(
            json.dumps(getattr(stepper, method)(*arguments), allow_nan=False),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main()
