"""The ONNX form of a network's program.

Tensors have telling names in a program. In the file they are numbered: a name is written once for
every node that reads it, and in a small network all those names together outweigh some of the
layers.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sdedge.deploy.ir.program import INPUT, OUTPUT, Node, Program
from sdedge.schema import encode_json
from sdedge.space.saved import NetworkDescription
from sdedge.version import __version__

BATCH = "batch"
# No node here needs more, and 13 is the first with INT8 weights scaled by channel; onnxruntime
# reads it since 1.6 (2020).
OPSET = 13
IR_VERSION = 7


def program_model(
    program: Program,
    description: NetworkDescription,
    *,
    normalize: bool = False,
    node_names: bool = True,
    extra: Sequence[str] = (),
) -> onnx.ModelProto:
    """The ONNX model of a program that `to_program` gave, or of one made from it.

    See `to_model` for the options; classes, preprocessing and genotype are in the metadata.
    """
    return to_model(
        program,
        description.image_size,
        len(description.classes),
        _metadata(description, normalize=normalize),
        node_names=node_names,
        extra=extra,
    )


def to_model(
    program: Program,
    image_size: int,
    classes: int,
    metadata: Mapping[str, str] = MappingProxyType({}),
    *,
    node_names: bool = True,
    extra: Sequence[str] = (),
) -> onnx.ModelProto:
    """The ONNX model for any batch size: float32 (batch, 3, S, S) in, (batch, classes) out.

    The float tensors named in `extra` are outputs too, after the class scores. Without
    `node_names` the file is a little smaller.
    """
    short = {INPUT: INPUT, program.output: OUTPUT}
    free = (np.base_repr(number, 36) for number in itertools.count())
    nodes = [_node_proto(node, short, free, named=node_names) for node in program.nodes]
    constants = [
        numpy_helper.from_array(values, short[name])
        for name, values in program.constants.items()
        if name in short
    ]
    image, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape])
        for name, shape in ((INPUT, (3, image_size, image_size)), (OUTPUT, (classes,)))
    )
    others = [
        helper.make_tensor_value_info(short[name], onnx.TensorProto.FLOAT, None) for name in extra
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "network", [image], [logits, *others], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sdedge",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _node_proto(
    node: Node, short: dict[str, str], free: Iterator[str], *, named: bool
) -> onnx.NodeProto:
    """The node with the names in `short`, which grows by those it is the first to use."""
    for name in (*node.inputs, node.output):
        if name not in short:
            short[name] = next(free)
    return helper.make_node(
        node.op_type,
        [short[name] for name in node.inputs],
        [short[node.output]],
        node.output if named else None,
        **node.attributes,
    )


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
        "classes": encode_json(description.classes, source="classes"),
        "preprocessing": encode_json(preprocessing, source="preprocessing"),
        "genotype": encode_json(description.genotype.to_dict(), source="genotype"),
        "sdedge_version": __version__,
    }
