"""Where the work runs, and where its random numbers come from."""

import hashlib
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from sdedge.errors import ConfigError, RunError
from sdedge.resources import available_memory_bytes

M = TypeVar("M", bound=nn.Module)
# Writing 5 to it resets the peak memory that Linux has counted for this process.
_PEAK = Path("/proc/self/clear_refs")
_IN_USE = threading.Lock()  # by a search or a training
_SMALLER = "use a smaller --batch-size, --channels, --cells or --image-size"


def select_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "cuda:1".

    Raises ConfigError when the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; sdedge runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name!r}, and torch sees {torch.cuda.device_count()} CUDA devices; "
            "`sdedge doctor` says why. Use --device cpu."
        )
    return device


@contextmanager
def own_torch() -> Iterator[None]:
    """For a search or a training: gradients are on, and torch is the caller's again afterwards.

    torch has one random generator and one choice of kernels in a process. Raises RunError where
    another search or training of this process has them.
    """
    if not _IN_USE.acquire(blocking=False):
        raise RunError(
            "another search or training runs in this process; start this one in a process of its "
            "own, so that both stay reproducible"
        )
    cudnn = torch.backends.cudnn
    kept = cudnn.benchmark, cudnn.deterministic
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    devices = range(torch.cuda.device_count())
    try:
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = kept
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        _IN_USE.release()


def make_deterministic() -> None:
    """Choose kernels whose results repeat bit for bit: a resumed run must equal a straight one."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Every output is written, so filling it first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def on_device(module: M, device: torch.device) -> M:
    """`module`, moved to `device` with its kernels channels-last, the layout of every batch."""
    module.to(device)
    module.to(memory_format=torch.channels_last)
    return module


def derived_seed(seed: int, *path: object) -> int:
    """A 63-bit seed that depends on `seed` and `path` alone (say "train", epoch 3, step 17)."""
    digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_step(seed: int, *path: object) -> None:
    """Seed every generator of torch for one step.

    So a run that resumes at any step draws what an uninterrupted one would have drawn.
    """
    torch.manual_seed(derived_seed(seed, *path))


def require_memory(least_bytes: int, device: torch.device, phase: str) -> None:
    """Raise RunError where a step of `phase` on the CPU needs more memory than is available."""
    available = available_memory_bytes() if device.type == "cpu" else None
    if available is not None and least_bytes > available:
        raise RunError(
            f"a step of the {phase} phase needs {least_bytes / 2**30:,.1f} GiB of memory at "
            f"least, and {available / 2**30:,.1f} GiB are available; {_SMALLER}"
        )


@contextmanager
def explain_out_of_memory(device: torch.device) -> Iterator[None]:
    """Turn the lack of memory, of a GPU or of this machine, into a RunError with the way out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(device) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # torch has no class of its own for it
            raise
        raise _out_of_memory(device) from error


def _out_of_memory(device: torch.device) -> RunError:
    return RunError(f"{device} ran out of memory; {_SMALLER}")


def reset_peak_memory(device: torch.device) -> None:
    """Count the peak from here on, where the system allows that: on a GPU, and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _PEAK.exists():
        with suppress(OSError):  # of a container that does not own its process
            _PEAK.write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: of the device's allocator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
