"""A training step that a GPU repeats by itself: recorded once as a CUDA graph, then replayed.

Launching the thousands of kernels of a step from Python takes longer than running them. A graph
holds their addresses and Python numbers for good, so what a step moves must stay where it is, and
what changes from step to step must be a tensor: the batch, and the learning rate.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map_only

from sdedge.errors import ConfigError

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

# Calls before recording: they compile kernels, open libraries and make the optimizer's buffers.
_WARM_UP = 3


class CudaGraphs:
    """Records and warms up on one side stream of `device`, as the recording of graphs asks."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, function: Callable[[], R]) -> R:
        """Run `function` as it is, in order with the work before and after."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            result = function()
        usual.wait_stream(self._stream)
        return result

    def record(self, function: Callable[[], R]) -> Callable[[], R]:
        """Record what `function` would do, and do none of it.

        The function that is returned does it, and gives the recorded outputs, which every call
        overwrites. Random numbers follow the seed that is set before the call, as in `function`
        itself: a replay hands the default generator's present seed and offset to its kernels
        (https://github.com/pytorch/pytorch/pull/84967).
        """
        graph = torch.cuda.CUDAGraph()
        # Only this thread is held to what can be recorded: another one may be reading batches.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            outputs = function()

        def replay() -> R:
            graph.replay()
            return outputs

        return replay


def select_graphs(enabled: bool, device: torch.device) -> CudaGraphs | None:
    """What records the steps of a run on `device`, or None where they run as they are.

    Raises ConfigError when graphs are enabled on a device that has none.
    """
    if not enabled:
        return None
    if device.type != "cuda":
        raise ConfigError(
            f"cuda_graphs is on, but the device is {device}: CUDA graphs need a CUDA device. "
            "Leave out --cuda-graphs."
        )
    return CudaGraphs(device)


class Step(Generic[*Ts, R]):
    """A function of (tuples of) tensors that moves tensors in place, run plainly or by graph.

    By graph, the first calls run as they are: real steps, so that warming up moves nothing that
    the plain path does not. The next call records, and from then on inputs are copied to where
    the graph reads them. Shapes must stay, or a ValueError says which did not; outputs must hold no
    autograd graph.
    """

    def __init__(self, function: Callable[[*Ts], R], graphs: CudaGraphs | None) -> None:
        self._function = function
        self._graphs = graphs
        self.forget()

    def forget(self) -> None:
        """Warm up and record again, as after a change of something that the graph holds."""
        self._warm_ups = 0
        self._inputs: tuple[Any, ...] = ()
        self._replay: Callable[[], R] | None = None

    def __call__(self, *inputs: *Ts) -> R:
        if self._graphs is None:
            return self._function(*inputs)
        if self._warm_ups < _WARM_UP:
            self._warm_ups += 1
            return self._graphs.warm_up(partial(self._function, *inputs))
        if self._replay is None:
            self._inputs = tree_map_only(Tensor, torch.clone, inputs)
            self._replay = self._graphs.record(partial(self._function, *self._inputs))
        else:
            for static, new in zip(tree_leaves(self._inputs), tree_leaves(inputs), strict=True):
                if static.shape != new.shape:
                    raise ValueError(
                        f"a step recorded for a tensor {tuple(static.shape)} cannot run on one of "
                        f"{tuple(new.shape)}; forget() it first"
                    )
                static.copy_(new)
        outputs: R = tree_map_only(Tensor, torch.clone, self._replay())
        return outputs


def rate_settings(device: torch.device, rate: float) -> dict[str, Any]:
    """Settings of an optimizer with a learning rate that `set_rate` changes.

    On a GPU the step is one kernel for many tensors, and reads its rate from the device.
    """
    if device.type == "cpu":
        return {"lr": rate}
    return {"lr": torch.tensor(rate, dtype=torch.float32, device=device), "fused": True}


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Change the learning rate, in place where it is a tensor: a graph may hold it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
