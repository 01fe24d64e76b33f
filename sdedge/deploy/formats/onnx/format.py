"""ONNX, for ONNX Runtime and whatever else reads it."""

from sdedge.deploy.formats.format import Format
from sdedge.deploy.formats.onnx import NAME
from sdedge.deploy.formats.onnx.order import in_best_order
from sdedge.deploy.formats.onnx.runtime import load
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.ir.model import Model


def _write(model: Model) -> tuple[bytes, ...]:
    """Nodes in the order that needs the least memory; a quantised file leaves out their names."""
    proto = program_model(
        model.program,
        model.description,
        normalize=model.normalize,
        node_names=model.precision == "fp32",
    )
    data: bytes = in_best_order(proto).SerializeToString()
    return (data,)


ONNX = Format(name=NAME, title="ONNX", suffixes=("onnx",), write=_write, load=load)
