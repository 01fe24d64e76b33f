"""Checkpoints: tensors and a JSON header in one safetensors file, written atomically.

Nothing is pickled, so a checkpoint from a stranger runs no code when it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from sdedge.errors import RunError
from sdedge.escape import printable, short
from sdedge.files import write_atomic
from sdedge.schema import decode_json, encode_json

# What SGD with momentum and Adam keep for a parameter.
_OPTIMIZER_STATES = ({"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"})


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors, and a header of plain JSON values."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write one file; RunError when the disk is full or the folder read-only."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    described = encode_json(header, source=f"cannot write {path}")
    write_atomic(path, save(contiguous, metadata={"sdedge": described}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file to the CPU; RunError when it is missing, truncated or not of sdedge."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {error}. It is damaged; delete it to start over."
        ) from error
    if "sdedge" not in metadata:
        raise RunError(f"{path} was not written by sdedge (its header has no sdedge entry)")
    source = f"{path} has a damaged header"
    header = decode_json(metadata["sdedge"].encode(), dict[str, Any], source=source)
    return Checkpoint(tensors, header)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors `prefix/name`, so that several sets share one file."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `prefix/name`, as name."""
    start = f"{prefix}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as `index/key` tensors; hyper-parameters are left out."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}/{key}": value
        for index, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put back what `optimizer_tensors` gave; RunError when it does not fit the parameters.

    Buffers take the memory layout of their parameters: a mixture costs the fused update its speed.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    by_index = {str(index): parameter for index, parameter in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        if index not in by_index:
            raise RunError(f"{path} holds optimizer state {short(name)}, which fits no parameter")
        parameter = by_index[index]
        if not tensor.is_floating_point() or tensor.shape not in ((), parameter.shape):
            raise RunError(f"{path} holds optimizer state {short(name)} of another shape or type")
        if tensor.dim():
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor).detach()
        state.setdefault(int(index), {})[key] = tensor
    if any(set(entries) not in _OPTIMIZER_STATES for entries in state.values()):
        raise RunError(f"{path} holds optimizer state that is neither of SGD nor of Adam")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _form(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict; RunError, naming the first differences, when it does not fit."""
    check_fits(module, tensors, path)
    with torch.no_grad():
        module.load_state_dict(dict(tensors))


def check_fits(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """RunError, naming the first differences, when `tensors` are no state of `module`.

    The module may be on the meta device, which takes no memory.
    """
    own = module.state_dict()
    wrong = [
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or _form(own[name]) != _form(tensors[name])
    ]
    if wrong:
        raise RunError(
            f"{path} does not fit this network: {len(wrong)} tensors differ, "
            f"first {', '.join(map(printable, sorted(wrong)[:3]))}"
        )
