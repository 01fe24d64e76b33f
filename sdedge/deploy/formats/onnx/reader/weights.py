"""The weights of an ONNX file, checked and set aside: shapes follow without their values."""

from pathlib import Path, PurePath

from onnx import GraphProto, TensorProto, helper

from sdedge.deploy.formats.onnx.reader.tensor import Tensor, is_tensor, tensor_of
from sdedge.errors import ExportError
from sdedge.escape import printable

_KEPT_BYTES = 1024  # smaller ones stay: axes, bounds and shapes, which shapes follow from
_REMEDY = "export the model into one file, or copy that file again"


def detach_weights(
    graph: GraphProto, folder: Path | None, source: str
) -> tuple[list[TensorProto], int]:
    """Take large weights, and those in other files, out of `graph`, which gets them as inputs.

    Returns them, and the bytes of the other files. `folder` is the model's, None for a model
    without a file. Raises ExportError for a weight whose data is missing or of another size.
    """
    if graph.sparse_initializer:
        raise ExportError(
            f"{source} stores weights in sparse form, which is not read; export them dense"
        )
    files: dict[str, int] = {}
    kept: list[TensorProto] = []
    taken: list[TensorProto] = []
    for weight in graph.initializer:
        name = printable(weight.name)
        if not is_tensor(weight.dims, weight.data_type):
            raise ExportError(
                f"{source}: its weight {name} has shape {list(weight.dims)} and element type "
                f"{weight.data_type}, which is no tensor of numbers; export it again"
            )
        tensor = tensor_of(weight)
        if weight.data_location == TensorProto.EXTERNAL:
            _check_external(weight, tensor, folder, files, source)
        size = len(weight.raw_data)
        whole = size == tensor.size_bytes > _KEPT_BYTES  # of others onnx's checker sees the size
        (taken if weight.data_location == TensorProto.EXTERNAL or whole else kept).append(weight)
    inputs = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in taken
        if weight.name not in inputs
    )
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return taken, sum(files.values())


def _check_external(
    weight: TensorProto, tensor: Tensor, folder: Path | None, files: dict[str, int], source: str
) -> None:
    """Note the size of the file that holds `weight`; load its values where they are few."""
    entries = {entry.key: entry.value for entry in weight.external_data}
    location = entries.get("location", "")
    shown = printable(location) or "a file that it does not name"
    keeps = f"{source} keeps its weights in {shown}"
    offset, length = (_whole(entries.get(key, "0")) for key in ("offset", "length"))
    if offset is None or length is None:
        raise ExportError(f"{keeps}, at a place that is no number; {_REMEDY}")
    path = PurePath(location)
    if path.is_absolute() or ".." in path.parts or "\0" in location:
        raise ExportError(
            f"{keeps}, which lies outside the model's folder, where onnx and ONNX Runtime read "
            "nothing; export the model into one file, or next to its weights"
        )
    if folder is None or not location or not (folder / path).is_file():
        raise ExportError(
            f"{keeps}, which is not beside it; copy that file there, or export the model into one "
            "file"
        )
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ExportError(
            f"{keeps}, a link that leads outside the model's folder, where onnx and ONNX Runtime "
            "read nothing; put the file itself there"
        )
    files[location] = file.stat().st_size
    end = offset + tensor.size_bytes
    if files[location] < end or length not in (0, tensor.size_bytes):
        raise ExportError(
            f"{keeps}, which is damaged: weight {printable(weight.name)} needs {end:,} bytes, and "
            f"it has {files[location]:,}; {_REMEDY}"
        )
    if tensor.size_bytes <= _KEPT_BYTES:
        with file.open("rb") as stream:
            stream.seek(offset)
            values = stream.read(tensor.size_bytes)
        copy = TensorProto(dims=weight.dims, data_type=weight.data_type, name=weight.name)
        copy.raw_data = values
        weight.CopyFrom(copy)


def _whole(text: str) -> int | None:
    """A file's offset or length."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
