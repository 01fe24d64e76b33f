"""From the nodes of an ONNX file to the steps that a runtime takes.

Constants move from the inputs into the step that uses them, names that stand for one tensor become
one, and steps that every runtime merges are merged.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import onnx
from onnx import TensorProto

from sdedge.deploy.graph.onnx_file import (
    SAME_TENSOR,
    STANDARD_DOMAINS,
    Classifier,
    Tensor,
    names_read,
)
from sdedge.errors import ExportError

QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
MATRIX = {"Conv", "Gemm", "MatMul"}  # multiply the second input, and may add the third
_ACTIVATIONS = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"}
_ABSORBS_ACTIVATION = {"Conv", "Gemm"}
_SHAPE_OF = {"Shape", "Size"}
_FLOAT_RESULT = {"Gemm", "MatMul"}  # int8 also where nothing quantises the result
_NOT_WEIGHTS = {TensorProto.INT64, TensorProto.BOOL}  # axes, bounds, shapes


@dataclass(frozen=True, kw_only=True)
class Step:
    """A node without its constants. `base` is its ONNX type, what is fused into it left out."""

    name: str
    op_type: str
    base: str
    inputs: tuple[str, ...]  # activations
    outputs: tuple[str, ...]
    weights: dict[str, Tensor] = field(default_factory=dict)  # all, by name
    matrix: Tensor | None = None  # what it multiplies by, where that is constant
    bias: Tensor | None = None
    groups: int = 1


def simplified_steps(classifier: Classifier) -> list[Step]:
    """The steps of a classifier, in the file's order.

    Raises ExportError where its output is the same for every image.
    """
    steps = list(_without_constants(classifier))
    if not any(classifier.output in step.outputs for step in steps):
        raise ExportError(
            f"{classifier.source} is not an image classifier: its output does not depend on the "
            "image; give a model that computes its scores from it"
        )
    for joins, join in ((_folds, _fold), (_absorbs, _absorb)):
        steps = _join_pairs(steps, classifier.output, joins, join)
    return _collapse_quantizers(steps, classifier.output)


def _without_constants(classifier: Classifier) -> Iterator[Step]:
    """A step for each node that computes something from the image."""
    # The stored tensors that a constant name stands for: itself, the int8 values behind a
    # DequantizeLinear (not their scales), nothing where it follows from shapes.
    constants = {name: {name: tensor} for name, tensor in classifier.constants.items()}
    same: dict[str, str] = {}
    read = {name for node in classifier.nodes for name in names_read(node)} | {classifier.output}
    for node in classifier.nodes:
        inputs = [same.get(name, name) for name in names_read(node)]
        data = inputs[:1] if node.op_type in QUANTIZERS else inputs
        if node.op_type in _SHAPE_OF:
            constants[node.output[0]] = {}
        elif node.op_type == "Constant":
            constants[node.output[0]] = _value(node)
        elif all(name in constants for name in inputs if name):
            constants.update(dict.fromkeys(node.output, _joined(constants, data)))
        elif node.op_type in SAME_TENSOR:
            same[node.output[0]] = inputs[0]
        else:
            outputs = tuple(name for name in node.output if name in read)
            yield _step(node, data, outputs, constants)


def _value(node: onnx.NodeProto) -> dict[str, Tensor]:
    tensor = next((a.t for a in node.attribute if a.name == "value"), None)
    return {node.output[0]: Tensor(tuple(tensor.dims), tensor.data_type)} if tensor else {}


def _joined(constants: dict[str, dict[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
    return {key: tensor for name in names for key, tensor in constants.get(name, {}).items()}


def _step(
    node: onnx.NodeProto,
    inputs: Sequence[str],
    outputs: tuple[str, ...],
    constants: dict[str, dict[str, Tensor]],
) -> Step:
    op_type = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"
    operands = [next(iter(constants.get(name, {}).values()), None) for name in inputs]
    matrix, bias = (*operands[1:], None, None)[:2] if op_type in MATRIX else (None, None)
    return Step(
        name=node.name or node.output[0],
        op_type=op_type,
        base=op_type,
        inputs=tuple(name for name in inputs if name and name not in constants),
        outputs=outputs,
        weights={
            name: tensor
            for name, tensor in _joined(constants, inputs).items()
            if tensor.shape and tensor.element not in _NOT_WEIGHTS
        },
        matrix=matrix,
        bias=bias,
        groups=next((a.i for a in node.attribute if a.name == "group"), 1),
    )


def _folds(step: Step, after: Step) -> bool:
    return step.op_type == "Conv" and after.op_type == "BatchNormalization"


def _fold(step: Step, after: Step) -> Step:
    """A batch norm becomes the bias of the convolution, which may have had one."""
    step = replace(step, outputs=after.outputs)
    if step.bias is not None or step.matrix is None:
        return step
    bias = Tensor(step.matrix.shape[:1], TensorProto.FLOAT)
    return replace(step, bias=bias, weights={**step.weights, f"{step.name}/bias": bias})


def _absorbs(step: Step, after: Step) -> bool:
    return step.op_type in _ABSORBS_ACTIVATION and after.op_type in _ACTIVATIONS


def _absorb(step: Step, after: Step) -> Step:
    return replace(step, outputs=after.outputs, op_type=f"{step.op_type}+{after.op_type}")


def _join_pairs(
    steps: list[Step],
    output: str,
    joins: Callable[[Step, Step], bool],
    join: Callable[[Step, Step], Step],
) -> list[Step]:
    """The steps, each that `joins` says joined to the one before, whose result nothing else reads.

    The joined step takes the place of the first.
    """
    reads = _reads(steps, output)
    maker: dict[str, int] = {}
    result: list[Step] = []
    for step in steps:
        place = maker.get(step.inputs[0]) if len(step.inputs) == 1 else None
        if place is not None and reads[step.inputs[0]] == 1 and joins(result[place], step):
            result[place] = join(result[place], step)
        else:
            place = len(result)
            result.append(step)
        maker.update(dict.fromkeys(result[place].outputs, place))
    return result


def _reads(steps: Sequence[Step], output: str) -> Counter[str]:
    """How often each activation is read; being the graph's output counts as one."""
    return Counter([output, *(name for step in steps for name in step.inputs)])


def _collapse_quantizers(steps: list[Step], output: str) -> list[Step]:
    """One int8 step for each step between DequantizeLinear and QuantizeLinear.

    As in ONNX Runtime: all its inputs are dequantised, and each of its results is read by one
    QuantizeLinear alone. What does not fit this stays, with the conversions around it.
    """
    reads = _reads(steps, output)
    int8_source = {s.outputs[0]: s.inputs[0] for s in steps if s.op_type == "DequantizeLinear"}
    int8_result = {
        s.inputs[0]: s.outputs[0]
        for s in steps
        if s.op_type == "QuantizeLinear" and reads[s.inputs[0]] == 1
    }
    collapsed = []
    for step in steps:
        whole = step.base in _FLOAT_RESULT or all(name in int8_result for name in step.outputs)
        if (
            step.op_type not in QUANTIZERS
            and whole
            and all(name in int8_source for name in step.inputs)
        ):
            step = replace(
                step,
                inputs=tuple(int8_source[name] for name in step.inputs),
                outputs=tuple(int8_result.get(name, name) for name in step.outputs),
            )
        collapsed.append(step)
    made = {name for step in collapsed if step.op_type not in QUANTIZERS for name in step.outputs}
    kept = [s for s in collapsed if s.op_type != "QuantizeLinear" or s.outputs[0] not in made]
    needed = _reads(kept, output)
    return [s for s in kept if s.op_type != "DequantizeLinear" or needed[s.outputs[0]]]
