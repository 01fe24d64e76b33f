"""Give all channels of a depthwise convolution one greatest weight, and the next layer the rest.

A pointwise convolution follows each depthwise one with nothing in between, so a factor can move
from a channel of the one to an input of the other (Nagel et al. 2019, section 4.1, who choose it
otherwise). One scale then serves the whole depthwise weight, exactly: the file keeps no four bytes
for every nine, and the channels in between fill the range of their bytes more evenly.
"""

import numpy as np

from sdedge.deploy.ir.program import Node, Program

_MIN_FACTOR = 1e-6  # of the greatest factor: a channel of zeros stays one


def equalize(program: Program) -> Program:
    """The same network, equal but for rounding; what cannot be equalised stays as it is."""
    result = program.copy()
    for node in program.nodes:
        if not _is_plain_depthwise(program, node):
            continue
        following = _conv_after(program, node)
        if following is None:
            continue
        reader, first = following
        weight = program.constants[node.inputs[1]]
        greatest = np.abs(weight).max(axis=(1, 2, 3))
        factors = np.maximum(greatest / (greatest.max() or 1), _MIN_FACTOR).astype(weight.dtype)
        result.constants[node.inputs[1]] = weight / factors[:, None, None, None]
        following_weight = result.constants[reader.inputs[1]]
        groups = reader.attributes.get("group", 1)
        by_input = np.ones(following_weight.shape[1] * groups, weight.dtype)
        by_input[first : first + len(factors)] = factors
        by_output = by_input.reshape(groups, -1).repeat(len(following_weight) // groups, axis=0)
        result.constants[reader.inputs[1]] = following_weight * by_output[:, :, None, None]
    return result


def _is_plain_depthwise(program: Program, node: Node) -> bool:
    """Depthwise, without a bias."""
    if node.op_type != "Conv" or len(node.inputs) > 2:
        return False
    channels = len(program.constants[node.inputs[1]])
    return channels > 1 and node.attributes.get("group") == channels


def _conv_after(program: Program, node: Node) -> tuple[Node, int] | None:
    """The one convolution that reads `node`, straight or in a Concat, and from which channel on."""
    readers, makers = program.readers(), program.makers()
    name, first = node.output, 0
    following = readers[name]
    if len(following) == 1 and following[0].op_type == "Concat":
        before = following[0].inputs[: following[0].inputs.index(name)]
        if any(makers[other].op_type != "Conv" for other in before):
            return None
        first = sum(len(program.constants[makers[other].inputs[1]]) for other in before)
        following = readers[following[0].output]
    if len(following) != 1 or following[0].op_type != "Conv":
        return None
    return following[0], first
