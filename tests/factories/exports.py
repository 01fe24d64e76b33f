"""ONNX files of a network, as an export makes them."""

import onnx

from sdedge.data.dataset import Dataset, Split
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.onnx.verify import ExportReport, verify_onnx
from sdedge.deploy.formats.scores import Progress
from sdedge.deploy.int8.search import CALIBRATION_IMAGES, Quantized, quantize_model
from sdedge.deploy.ir.trace import trace_model
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription


def to_onnx(
    network: Network, description: NetworkDescription, *, normalize: bool = False
) -> onnx.ModelProto:
    """The model in fp32."""
    (model,) = ONNX.content(trace_model(network, description, normalize=normalize))
    return onnx.load_from_string(model)


def export_network(
    network: Network,
    description: NetworkDescription,
    split: Split,
    *,
    normalize: bool = False,
    batch_size: int = 250,
    progress: Progress | None = None,
) -> tuple[bytes, ExportReport]:
    """The file in fp32, checked on a split."""
    (model,) = ONNX.content(trace_model(network, description, normalize=normalize))
    verified = verify_onnx(
        model,
        network,
        description,
        split,
        normalize=normalize,
        batch_size=batch_size,
        progress=progress,
    )
    return model, verified.report


def quantize_network(
    network: Network,
    description: NetworkDescription,
    data: Dataset,
    fp32: bytes,
    *,
    normalize: bool = False,
    calibration_images: int = CALIBRATION_IMAGES,
) -> Quantized:
    """The best int8 form; `fp32` is the network's file in fp32."""
    model = trace_model(network, description, normalize=normalize)
    return quantize_model(model, data, fp32, calibration_images=calibration_images)
