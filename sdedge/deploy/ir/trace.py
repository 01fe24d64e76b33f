"""From a derived network to the program that computes the same, node by node.

The network is traced with torch.fx, each traced step becomes the node it stands for, and
`optimize_graph` merges what repeats. Compared with torch.onnx.export this keeps the graph to what
the network computes, and takes a fraction of a second.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from sdedge.deploy.ir.folding import fold_batch_norm
from sdedge.deploy.ir.model import Model
from sdedge.deploy.ir.optimize import optimize_graph
from sdedge.deploy.ir.program import INPUT, Program
from sdedge.errors import ExportError
from sdedge.space.darts.network import Network
from sdedge.space.darts.operations import FactorizedReduce
from sdedge.space.saved import NetworkDescription


def trace_model(
    network: Network, description: NetworkDescription, *, normalize: bool = False
) -> Model:
    """The model that a format is written from; see `to_program`."""
    program = to_program(network, description, normalize=normalize)
    return Model(program=program, description=description, normalize=normalize)


def to_program(
    network: Network, description: NetworkDescription, *, normalize: bool = False
) -> Program:
    """The nodes that compute the class scores of `network` in evaluation, batch norm folded.

    The input is an image normalised with the description's mean and std or, with `normalize`, one
    in [0, 1]. Raises ExportError when the network holds something that has no form here.
    """
    program = Program()
    x = _normalise(program, description) if normalize else INPUT
    _trace(program, fold_batch_norm(network), x)
    return optimize_graph(program)


def _normalise(program: Program, description: NetworkDescription) -> str:
    # Not folded into the stem: its zero padding stands for the mean colour, not for black.
    mean, std = (
        program.constant(f"{INPUT}.{key}", np.array(values, np.float32).reshape(1, 3, 1, 1))
        for key, values in (("mean", description.mean), ("std", description.std))
    )
    centred = program.node("Sub", [INPUT, mean], f"{INPUT}.centred")
    return program.node("Div", [centred, std], f"{INPUT}.normalised")


class _Tracer(fx.Tracer):
    """Stops at the modules that have an ONNX form and looks into all others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _MODULES


def _trace(program: Program, network: Network, x: str) -> None:
    """Add the nodes that compute the network's class scores from the tensor x."""
    tensors: dict[fx.Node, str] = {}
    for step in _Tracer().trace(network).nodes:
        args = fx.node.map_arg(step.args, tensors.__getitem__)
        if step.op == "placeholder":
            tensors[step] = x
        elif step.op == "call_module":
            module = network.get_submodule(step.target)
            tensors[step] = _MODULES[type(module)](program, step.target, module, *args)
        elif step.target in _FUNCTIONS:
            scope = [*step.meta.get("nn_module_stack", ())][-1:]
            name = ".".join([*scope, step.name])
            tensors[step] = _FUNCTIONS[step.target](program, name, *args, **step.kwargs)
        elif step.op != "output":
            path = "".join([*step.meta.get("nn_module_stack", ())][-1:])
            raise _no_form(getattr(step.target, "__name__", str(step.target)), path, network)


def _no_form(function: str, path: str, network: Network) -> ExportError:
    """What is said of a function, called in the module at `path`, that no node stands for."""
    operation = network.operation_at(path)
    of = f"operation {operation}: " if operation else ""
    return ExportError(
        f"{of}{function} in {path or 'the network'} has no form in an export; build it of "
        f"{', '.join(sorted(module.__name__ for module in _MODULES))}, additions and "
        "concatenations, or add a form to sdedge/deploy/ir/trace.py"
    )


def _conv(program: Program, name: str, conv: nn.Conv2d, x: str) -> str:
    if not isinstance(conv.padding, tuple):
        raise ExportError(f"convolution {name} has padding {conv.padding!r}; give it in pixels")
    attributes: dict[str, Any] = {
        "strides": conv.stride,
        "pads": conv.padding * 2,
        "dilations": conv.dilation,
        "group": conv.groups,
    }
    defaults = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    needed = {key: value for key, value in attributes.items() if value != defaults[key]}
    return program.node("Conv", [x, *_parameters(program, name, conv)], name, **needed)


def _linear(program: Program, name: str, linear: nn.Linear, x: str) -> str:
    return program.node("Gemm", [x, *_parameters(program, name, linear)], name, transB=1)


def _parameters(program: Program, name: str, module: nn.Module) -> list[str]:
    return [
        program.constant(f"{name}.{key}", parameter.detach().float().numpy())
        for key, parameter in module.named_parameters(recurse=False)
    ]


def _relu(program: Program, name: str, _: nn.ReLU, x: str) -> str:
    return program.node("Relu", [x], name)


def _identity(program: Program, name: str, _: nn.Identity, x: str) -> str:
    return x


def _max_pool(program: Program, name: str, pool: nn.MaxPool2d, x: str) -> str:
    return program.node("MaxPool", [x], name, **_window(pool))


def _avg_pool(program: Program, name: str, pool: nn.AvgPool2d, x: str) -> str:
    count = int(pool.count_include_pad)
    return program.node("AveragePool", [x], name, count_include_pad=count, **_window(pool))


def _window(pool: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, tuple[int, ...]]:
    return {
        "kernel_shape": _each_side(pool.kernel_size, 2),
        "strides": _each_side(pool.stride, 2),
        "pads": _each_side(pool.padding, 4),
    }


def _each_side(size: int | tuple[int, ...], sides: int) -> tuple[int, ...]:
    return (size,) * sides if isinstance(size, int) else size * (sides // len(size))


def _factorized_reduce(program: Program, name: str, reduction: FactorizedReduce, x: str) -> str:
    x = program.node("Relu", [x], f"{name}.relu")
    even = _conv(program, f"{name}.conv_even", reduction.conv_even, x)
    # Every other pixel, from the second on, as a depthwise convolution: runtimes keep their own
    # layout for one, and leave it for a Slice. The padding rounds an odd size up.
    channels = reduction.conv_odd.in_channels
    pick = np.zeros((channels, 1, 2, 2), np.float32)
    pick[:, :, 1, 1] = 1
    weight = program.constant(f"second_pixels.{channels}", pick)
    shifted = program.node(
        "Conv",
        [x, weight],
        f"{name}.shifted",
        strides=(2, 2),
        pads=(0, 0, 1, 1),
        group=channels,
    )
    inputs = [shifted, *_parameters(program, f"{name}.conv_odd", reduction.conv_odd)]
    odd = program.node("Conv", inputs, f"{name}.conv_odd")
    return program.node("Concat", [even, odd], name, axis=1)


def _add(program: Program, name: str, left: str, right: str) -> str:
    return program.node("Add", [left, right], name)


def _concat(program: Program, name: str, tensors: list[str], dim: int) -> str:
    return program.node("Concat", tensors, name, axis=dim)


def _mean(program: Program, name: str, x: str, dim: tuple[int, ...]) -> str:
    if dim != (2, 3):
        raise ExportError(f"the mean over dimensions {dim} at {name} has no ONNX form in sdedge")
    # Two nodes where ReduceMean is one: INT8 runtimes have a quantised form of these.
    return program.node("Flatten", [program.node("GlobalAveragePool", [x], name)], f"{name}.flat")


_MODULES: dict[type[nn.Module], Callable[..., str]] = {
    FactorizedReduce: _factorized_reduce,
    nn.AvgPool2d: _avg_pool,
    nn.Conv2d: _conv,
    nn.Identity: _identity,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: _relu,
}
_FUNCTIONS: dict[Any, Callable[..., str]] = {
    operator.add: _add,
    torch.cat: _concat,
    "mean": _mean,
}
