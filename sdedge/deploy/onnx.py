"""The ONNX form of a derived network, written node by node.

The network is traced with torch.fx and each traced step becomes the ONNX node it stands for.
A node that would repeat an earlier one (the ReLU that several edges of a cell start with) is not
added twice. Compared with torch.onnx.export this keeps the graph to what the network computes,
the file to little more than the weights, and the export to a fraction of a second.
"""

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import fx, nn

import sdedge
from sdedge.deploy.folding import fold_batch_norm
from sdedge.errors import ExportError
from sdedge.space.network import Network
from sdedge.space.operations import FactorizedReduce
from sdedge.space.saved import NetworkDescription

INPUT = "input"
OUTPUT = "logits"
BATCH = "batch"
# No node here needs more, and 13 is the first with INT8 weights scaled by channel; onnxruntime
# reads it since 1.6 (2020).
OPSET = 13
IR_VERSION = 7
_END = np.iinfo(np.int64).max


def to_onnx(
    network: Network, description: NetworkDescription, *, normalize: bool = False
) -> onnx.ModelProto:
    """The ONNX model of `network` in evaluation, batch norm folded, for any batch size.

    `input` is float32 (batch, 3, S, S), RGB: normalised with the description's mean and std, or,
    with `normalize`, in [0, 1] and normalised by the graph. `logits` is (batch, classes). Classes,
    preprocessing and genotype are in the metadata, as JSON. Raises ExportError when the network
    holds something that has no ONNX form here.
    """
    graph = _Graph()
    x = _normalise(graph, description) if normalize else INPUT
    _trace(graph, fold_batch_norm(network), x)
    size = description.image_size
    image = helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, [BATCH, 3, size, size])
    logits = helper.make_tensor_value_info(
        OUTPUT, onnx.TensorProto.FLOAT, [BATCH, len(description.classes)]
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [image], [logits], [*graph.weights.values()]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sdedge",
        producer_version=sdedge.__version__,
    )
    helper.set_model_props(model, _metadata(description, normalize=normalize))
    return model


def _metadata(description: NetworkDescription, *, normalize: bool) -> dict[str, str]:
    preprocessing = {
        "resize": "largest centred square, scaled with antialiasing",
        "image_size": description.image_size,
        "layout": "NCHW",
        "channel_order": "RGB",
        "range": [0, 1],
        "mean": description.mean,
        "std": description.std,
        "normalized_in_graph": normalize,  # if not, the input is (x - mean) / std
    }
    return {
        "task": "image-classification",
        "classes": json.dumps(description.classes),
        "preprocessing": json.dumps(preprocessing),
        "genotype": json.dumps(description.genotype.to_dict()),
        "sdedge_version": sdedge.__version__,
    }


class _Graph:
    """Nodes in order, and the weights they read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._outputs: dict[tuple[object, ...], str] = {}

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """The output of this node: `name`, or that of an earlier node that computes the same."""
        key = (op_type, *inputs, *sorted(attributes.items()))
        if key not in self._outputs:
            self._outputs[key] = name
            self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return self._outputs[key]

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """A constant; one of the same name is stored once."""
        self.weights.setdefault(name, numpy_helper.from_array(values, name))
        return name


def _normalise(graph: _Graph, description: NetworkDescription) -> str:
    # Not folded into the stem: its zero padding stands for the mean colour, not for black.
    mean, std = (
        graph.weight(f"{INPUT}.{key}", np.array(values, np.float32).reshape(1, 3, 1, 1))
        for key, values in (("mean", description.mean), ("std", description.std))
    )
    centred = graph.node("Sub", [INPUT, mean], f"{INPUT}.centred")
    return graph.node("Div", [centred, std], f"{INPUT}.normalised")


class _Tracer(fx.Tracer):
    """Stops at the modules that have an ONNX form and looks into all others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _MODULES


def _trace(graph: _Graph, network: nn.Module, x: str) -> None:
    """Add the nodes that compute the network's class scores from the tensor x."""
    tensors: dict[fx.Node, str] = {}
    for step in _Tracer().trace(network).nodes:
        args = fx.node.map_arg(step.args, tensors.__getitem__)
        if step.op == "placeholder":
            tensors[step] = x
        elif step.op == "call_module":
            module = network.get_submodule(step.target)
            tensors[step] = _MODULES[type(module)](graph, step.target, module, *args)
        elif step.target in _FUNCTIONS:
            scope = [*step.meta.get("nn_module_stack", ())][-1:]
            name = ".".join([*scope, step.name])
            tensors[step] = _FUNCTIONS[step.target](graph, name, *args, **step.kwargs)
        elif step.op != "output":
            raise ExportError(f"{step.target} at {step.name} has no ONNX form in sdedge")
    graph.nodes[-1].output[:] = [OUTPUT]


def _conv(
    graph: _Graph, name: str, conv: nn.Conv2d, x: str, pads: tuple[int, ...] | None = None
) -> str:
    if not isinstance(conv.padding, tuple):
        raise ExportError(f"convolution {name} has padding {conv.padding!r}; give it in pixels")
    attributes: dict[str, Any] = {
        "kernel_shape": conv.kernel_size,
        "strides": conv.stride,
        "pads": pads or conv.padding * 2,
        "dilations": conv.dilation,
        "group": conv.groups,
    }
    defaults = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    needed = {key: value for key, value in attributes.items() if value != defaults.get(key)}
    return graph.node("Conv", [x, *_parameters(graph, name, conv)], name, **needed)


def _linear(graph: _Graph, name: str, linear: nn.Linear, x: str) -> str:
    return graph.node("Gemm", [x, *_parameters(graph, name, linear)], name, transB=1)


def _parameters(graph: _Graph, name: str, module: nn.Module) -> list[str]:
    return [
        graph.weight(f"{name}.{key}", parameter.detach().float().numpy())
        for key, parameter in module.named_parameters(recurse=False)
    ]


def _relu(graph: _Graph, name: str, _: nn.ReLU, x: str) -> str:
    return graph.node("Relu", [x], name)


def _identity(graph: _Graph, name: str, _: nn.Identity, x: str) -> str:
    return x


def _max_pool(graph: _Graph, name: str, pool: nn.MaxPool2d, x: str) -> str:
    return graph.node("MaxPool", [x], name, **_window(pool))


def _avg_pool(graph: _Graph, name: str, pool: nn.AvgPool2d, x: str) -> str:
    count = int(pool.count_include_pad)
    return graph.node("AveragePool", [x], name, count_include_pad=count, **_window(pool))


def _window(pool: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, tuple[int, ...]]:
    return {
        "kernel_shape": _each_side(pool.kernel_size, 2),
        "strides": _each_side(pool.stride, 2),
        "pads": _each_side(pool.padding, 4),
    }


def _each_side(size: int | tuple[int, ...], sides: int) -> tuple[int, ...]:
    return (size,) * sides if isinstance(size, int) else size * (sides // len(size))


def _factorized_reduce(graph: _Graph, name: str, reduction: FactorizedReduce, x: str) -> str:
    x = graph.node("Relu", [x], f"{name}.relu")
    bounds = [
        graph.weight(f"shift.{key}", np.array(values, np.int64))
        for key, values in (("starts", [1, 1]), ("ends", [_END, _END]), ("axes", [2, 3]))
    ]
    shifted = graph.node("Slice", [x, *bounds], f"{name}.shifted")
    even = _conv(graph, f"{name}.conv_even", reduction.conv_even, x)
    # One pixel of padding at the end makes every size, even or odd, come out as ceil(size / 2).
    odd = _conv(graph, f"{name}.conv_odd", reduction.conv_odd, shifted, pads=(0, 0, 1, 1))
    return graph.node("Concat", [even, odd], name, axis=1)


def _add(graph: _Graph, name: str, left: str, right: str) -> str:
    return graph.node("Add", [left, right], name)


def _concat(graph: _Graph, name: str, tensors: list[str], dim: int) -> str:
    return graph.node("Concat", tensors, name, axis=dim)


def _mean(graph: _Graph, name: str, x: str, dim: tuple[int, ...]) -> str:
    if dim != (2, 3):
        raise ExportError(f"the mean over dimensions {dim} at {name} has no ONNX form in sdedge")
    # Two nodes where ReduceMean is one: INT8 runtimes have a quantised form of these.
    return graph.node("Flatten", [graph.node("GlobalAveragePool", [x], name)], f"{name}.flat")


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
