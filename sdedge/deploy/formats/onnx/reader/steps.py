"""From the nodes of an ONNX file to the steps that a runtime takes.

Constants move from the inputs into the step that uses them, names that stand for one tensor become
one, and steps that every runtime merges are merged.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import onnx
from onnx import TensorProto

from sdedge.deploy.formats.onnx.reader.classifier import Classifier, constant_scores
from sdedge.deploy.formats.onnx.reader.nodes import input_names, is_identity, is_standard
from sdedge.deploy.formats.onnx.reader.tensor import Tensor
from sdedge.deploy.ir.graph import QUANTIZERS
from sdedge.escape import printable

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
    products: int = 0  # summed for each element of the result, where it multiplies matrices
    matrix: Tensor | None = None  # what it multiplies by, where that is constant, as it reads it
    bias: str | None = None  # one of `weights`
    groups: int = 1


@dataclass(frozen=True)
class _Constant:
    """The tensor of the file behind a constant, and how its reader sees it.

    What transposes, reshapes, converts or dequantises a stored tensor keeps its element type, as it
    is stored; any other result of constants counts as stored itself, as a runtime computes it once.
    """

    stored: str
    tensor: Tensor


def simplified_steps(classifier: Classifier) -> list[Step]:
    """The steps of a classifier, in the file's order.

    Raises ExportError where its output is the same for every image.
    """
    steps = list(_without_constants(classifier))
    if not any(classifier.output in step.outputs for step in steps):
        raise constant_scores(classifier.source)
    for joins, join in ((_folds, _fold), (_absorbs, _absorb)):
        steps = _join_pairs(steps, classifier.output, joins, join)
    return _collapse_quantizers(steps, classifier.output)


def _without_constants(classifier: Classifier) -> Iterator[Step]:
    """A step for each node that computes something from the image."""
    tensors = classifier.tensors
    constants = {name: _Constant(name, tensor) for name, tensor in classifier.constants.items()}
    same: dict[str, str] = {}
    read = {name for node in classifier.nodes for name in input_names(node)} | {classifier.output}
    for node in classifier.nodes:
        inputs = [same.get(name, name) for name in input_names(node)]
        data = inputs[:1] if is_quantizer(node) else inputs
        outputs = tuple(name for name in node.output if name in read)
        if node.op_type in _SHAPE_OF or all(name in constants for name in data):
            behind = [constants[name] for name in data if name in constants]
            constants |= {name: _derived(name, tensors[name], behind) for name in outputs}
        elif is_identity(node):
            same[node.output[0]] = inputs[0]
        else:
            yield _step(node, data, outputs, constants, tensors)


def is_quantizer(node: onnx.NodeProto) -> bool:
    """Whether it converts between floats and integers with a scale."""
    return is_standard(node) and node.op_type in QUANTIZERS


def _derived(name: str, read: Tensor, behind: Sequence[_Constant]) -> _Constant:
    """What a node makes of the constants `behind`."""
    data = [constant for constant in behind if _is_weight(constant.tensor)]
    if len(data) == 1 and data[0].tensor.elements == read.elements:
        return _Constant(data[0].stored, Tensor(read.shape, data[0].tensor.element))
    return _Constant(name, read)


def _is_weight(tensor: Tensor) -> bool:
    return bool(tensor.shape) and tensor.element not in _NOT_WEIGHTS


def _step(
    node: onnx.NodeProto,
    inputs: Sequence[str],
    outputs: tuple[str, ...],
    constants: Mapping[str, _Constant],
    tensors: Mapping[str, Tensor],
) -> Step:
    op_type = node.op_type if is_standard(node) else f"{node.domain}.{node.op_type}"
    used = [constants.get(name) for name in inputs]
    weights = [known for known in used if known and _is_weight(known.tensor)]
    matrix, bias = (*used[1:], None, None)[:2] if op_type in MATRIX else (None, None)
    shapes = [
        known.tensor.shape if known else tensors[name].shape
        for name, known in zip(inputs, used, strict=True)
    ]
    return Step(
        name=printable(node.name or node.output[0]),
        op_type=op_type,
        base=op_type,
        inputs=tuple(name for name in inputs if name not in constants),
        outputs=outputs,
        weights={known.stored: known.tensor for known in weights},
        products=_products(node, shapes) if op_type in MATRIX else 0,
        matrix=matrix.tensor if matrix else None,
        bias=bias.stored if bias else None,
        groups=_whole(node, "group", 1),
    )


def _products(node: onnx.NodeProto, shapes: Sequence[tuple[int, ...]]) -> int:
    """Products summed for each element of a matrix operator's result; shapes of its inputs."""
    left, right = shapes[:2]
    if node.op_type == "Conv":
        return prod(right[1:])
    return left[0 if node.op_type == "Gemm" and _whole(node, "transA", 0) else -1]


def _whole(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _folds(step: Step, after: Step) -> bool:
    return step.op_type == "Conv" and after.op_type == "BatchNormalization"


def _fold(step: Step, after: Step) -> Step:
    """A batch norm becomes the bias of the convolution, which may have had one."""
    step = replace(step, outputs=after.outputs)
    if step.bias is not None or step.matrix is None:
        return step
    bias = f"{step.name}/bias"
    shift = Tensor(step.matrix.shape[:1], TensorProto.FLOAT)
    return replace(step, bias=bias, weights={**step.weights, bias: shift})


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
