"""Folding, the ONNX graph, and the checks that stand between an export and its file."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from factories.exports import export_network, to_onnx
from factories.networks import SEMANTIC, describe, random_split, trained
from sdedge.bounds import Stem
from sdedge.data.dataset import Split
from sdedge.deploy.formats.onnx.verify import ExportReport, verify_onnx
from sdedge.deploy.ir.folding import fold_batch_norm
from sdedge.errors import DataError, ExportError
from sdedge.genotype import Genotype
from sdedge.space.counting import count_network
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription


def logits_of(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(x).numpy()


def normalised(images: np.ndarray, description: NetworkDescription) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (description.mean, description.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def run_onnx(model: onnx.ModelProto, x: torch.Tensor) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x.numpy()})[0]


def assert_equal_logits(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert expected.std() > 0.01  # all-equal logits would prove nothing
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
    )


# DARTS_V1 has dilated convolutions and skips, PC_DARTS a reduction skip, NASNet 7x7 kernels and
# average pools; 15 and 21 are odd at the first and at the second reduction, and 18 in between.
@pytest.mark.parametrize(
    ("genotype", "stem", "image_size"),
    [
        ("DARTS_V1", "cifar", 16),
        ("DARTS_V1", "cifar", 15),
        ("PC_DARTS_cifar", "cifar", 18),
        ("NASNet_A", "cifar", 21),
        ("NASNet_A", "imagenet", 64),
        ("DARTS_V1", "imagenet", 75),
        (SEMANTIC, "cifar", 13),
    ],
)
class TestEquality:
    def test_folding_keeps_the_logits(self, genotype: str, stem: Stem, image_size: int) -> None:
        network = trained(describe(genotype, stem=stem, image_size=image_size))
        x = torch.randn(3, 3, image_size, image_size)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        folded = fold_batch_norm(network)
        assert_equal_logits(logits_of(folded, x), logits_of(network, x), 1e-5)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        after = network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_onnx_gives_the_logits_of_torch(
        self, genotype: str, stem: Stem, image_size: int, batch: int
    ) -> None:
        description = describe(genotype, stem=stem, image_size=image_size)
        network = trained(description)
        x = torch.randn(batch, 3, image_size, image_size)
        actual = run_onnx(to_onnx(network, description), x)
        assert_equal_logits(actual, logits_of(network, x), 1e-5)


def test_every_operation_of_a_cell_is_exported() -> None:
    operations = [
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "conv_7x1_1x7",
        "skip_connect",
    ]
    edges = tuple((name, position % 2) for position, name in enumerate(operations))
    genotype = Genotype(normal=edges, reduce=edges, normal_concat=(6, 2), reduce_concat=(3, 4, 5))
    description = describe(genotype)
    network = trained(description)
    x = torch.randn(2, 3, 16, 16)
    assert_equal_logits(run_onnx(to_onnx(network, description), x), logits_of(network, x), 1e-5)


def test_folding_accepts_a_training_network_with_an_auxiliary_head() -> None:
    description = describe("DARTS_V1", image_size=32)
    network = Network(description.genotype, channels=4, cells=3, classes=5, auxiliary=True).train()
    folded = fold_batch_norm(network)
    assert network.training
    assert network.auxiliary is not None
    assert folded.auxiliary is None
    x = torch.randn(2, 3, 32, 32)
    assert_equal_logits(logits_of(folded, x), logits_of(network.eval(), x), 1e-5)


def test_folding_refuses_a_batch_norm_it_would_leave_behind() -> None:
    network = trained(describe("DARTS_V1"))
    network.cells[0].preprocess.prev.insert(1, nn.Identity())
    network.cells[0].preprocess.prev.insert(3, nn.Identity())
    with pytest.raises(ExportError, match=r"cells\.0\.preprocess\.prev\.4"):
        fold_batch_norm(network)


def test_names_shapes_and_versions() -> None:
    model = to_onnx(trained(describe("DARTS_V1")), describe("DARTS_V1"))
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("input", ["batch", 3, 16, 16], "tensor(float)")
    assert (logits.name, logits.shape) == ("logits", ["batch", 5])
    assert model.opset_import[0].version == 13
    assert model.ir_version == 7
    for batch in (1, 3, 7):
        assert run_onnx(model, torch.randn(batch, 3, 16, 16)).shape == (batch, 5)


def test_graph_repeats_nothing_and_holds_nothing_needless() -> None:
    graph = to_onnx(trained(describe(SEMANTIC, cells=6)), describe(SEMANTIC, cells=6)).graph
    types = Counter(node.op_type for node in graph.node)
    assert set(types) == {
        "Add", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Relu"
    }  # fmt: skip
    computed = [
        (node.op_type, *node.input, *(a.SerializeToString() for a in node.attribute))
        for node in graph.node
    ]
    assert len(set(computed)) == len(computed)
    names = [weight.name for weight in graph.initializer]
    assert len(set(names)) == len(names)
    contents = [weight.raw_data for weight in graph.initializer if len(weight.raw_data) > 16]
    assert len(set(contents)) == len(contents)
    read = {name for node in graph.node for name in node.input}
    assert read == set(names) | {"input"} | {
        name for node in graph.node for name in node.output
    } - {"logits"}
    assert not graph.value_info


def test_file_is_the_weights_and_little_more() -> None:
    description = describe(SEMANTIC, channels=13, cells=8, image_size=32, classes=10)
    network = description.build().eval()
    size = len(to_onnx(network, description).SerializeToString())
    parameters = count_network(network, 32).params
    assert 240_000 < parameters < 250_000
    assert size <= 1.02 * 4 * parameters


@pytest.mark.parametrize("normalize", [False, True])
def test_metadata_tells_how_to_use_the_model(normalize: bool) -> None:
    description = describe("DARTS_V1")
    model = to_onnx(trained(description), description, normalize=normalize)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["task"] == "image-classification"
    assert metadata["sdedge_version"]
    assert json.loads(metadata["classes"]) == list(description.classes)
    assert Genotype.from_json(metadata["genotype"]) == description.genotype
    preprocessing = json.loads(metadata["preprocessing"])
    assert preprocessing["mean"] == list(description.mean)
    assert preprocessing["std"] == list(description.std)
    assert preprocessing["image_size"] == 16
    assert (preprocessing["layout"], preprocessing["channel_order"]) == ("NCHW", "RGB")
    assert preprocessing["normalized_in_graph"] is normalize


def test_normalisation_inside_equals_outside() -> None:
    description, images = describe("DARTS_V1"), random_split(2).images
    network = trained(description)
    unnormalised = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous() / 255
    inside = run_onnx(to_onnx(network, description, normalize=True), unnormalised)
    outside = run_onnx(to_onnx(network, description), normalised(images, description))
    assert_equal_logits(inside, outside, 1e-6)


def test_a_step_without_onnx_form_is_named() -> None:
    network = trained(describe("DARTS_V1"))
    network.cells[1].operations[0] = nn.GELU()
    with pytest.raises(ExportError, match=r"gelu in cells.1.operations.0 has no form in an export"):
        to_onnx(network, describe("DARTS_V1"))


@pytest.mark.parametrize("normalize", [False, True])
def test_export_gives_a_file_and_its_report(normalize: bool) -> None:
    description, split = describe(SEMANTIC), random_split()
    network = trained(description)
    predicted = logits_of(network, normalised(split.images, description)).argmax(axis=1)
    labels = np.where(np.arange(12) < 9, predicted, (predicted + 1) % 5)
    progress: list[tuple[int, int]] = []
    model, report = export_network(
        network.train(),
        description,
        Split(split.images, labels),
        normalize=normalize,
        batch_size=5,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert network.training
    assert report.torch_accuracy == report.onnx_accuracy == 0.75
    assert report.images == 12
    assert report.differing_predictions == 0
    assert 0 < report.max_abs_logit_difference < 1e-4
    assert report.file_size_bytes == len(model)
    assert report.parameters == count_network(network, 16).params
    assert report.size_ratio == len(model) / (4 * report.parameters)
    assert report.nodes["Gemm"] == 1
    assert report.normalized_in_graph is normalize
    assert progress == [(5, 12), (10, 12), (12, 12)]
    assert ExportReport(**json.loads(json.dumps(report.to_dict()))) == report


def test_limit_takes_the_first_images() -> None:
    description, split = describe("DARTS_V1"), random_split()
    network = trained(description)
    model = to_onnx(network, description).SerializeToString()
    assert verify_onnx(model, network, description, split, limit=7).report.images == 7
    assert verify_onnx(model, network, description, split, limit=99).report.images == 12
    with pytest.raises(DataError, match="none of 12 images"):
        verify_onnx(model, network, description, split, limit=0)


def scale_a_weight(model: onnx.ModelProto, op_type: str, factor: float) -> None:
    name = next(node.input[1] for node in model.graph.node if node.op_type == op_type)
    weight = next(weight for weight in model.graph.initializer if weight.name == name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] *= factor
    weight.raw_data = values.tobytes()


def name_an_unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Convolve"


def fix_the_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def declare_another_class(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6


def add_a_dimension(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["scores", "zero"], ["logits"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "zero"))
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=1))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (partial(scale_a_weight, op_type="Conv", factor=1.1), "differ from torch's by"),
        (partial(scale_a_weight, op_type="Gemm", factor=1.1), "differ from torch's by"),
        (partial(scale_a_weight, op_type="Gemm", factor=np.nan), "differ from torch's by nan"),
        (name_an_unknown_operator, "not valid ONNX.*Convolve"),
        (declare_another_class, "not valid ONNX"),
        (fix_the_batch, "does not run on a batch of 3"),
        (add_a_dimension, r"shape \(1, 1, 5\), torch \(1, 5\)"),
    ],
)
def test_failed_check_is_explained(tamper: Callable[[onnx.ModelProto], None], message: str) -> None:
    description = describe("DARTS_V1")
    network = trained(description)
    model = to_onnx(network, description)
    tamper(model)
    with pytest.raises(ExportError, match=message):
        verify_onnx(model.SerializeToString(), network, description, random_split())


def test_network_without_finite_logits_is_not_exported() -> None:
    description = describe("DARTS_V1")
    network = trained(description)
    nn.init.constant_(network.classifier.bias, float("inf"))
    with pytest.raises(ExportError, match="not finite"):
        export_network(network, description, random_split())


def test_file_runs_without_torch_and_sdedge(tmp_path: Path) -> None:
    description = describe("DARTS_V1")
    network = trained(description)
    path = tmp_path / "model.onnx"
    path.write_bytes(export_network(network, description, random_split())[0])
    program = (
        "import json, sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "x = numpy.linspace(-1, 1, 768, dtype=numpy.float32).reshape(1, 3, 16, 16)\n"
        "assert not {'torch', 'onnx', 'sdedge'} & set(sys.modules)\n"
        "classes = session.get_modelmeta().custom_metadata_map['classes']\n"
        "print(json.dumps([session.run(None, {'input': x})[0].tolist(), json.loads(classes)]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    logits, classes = json.loads(ran.stdout)
    x = torch.linspace(-1, 1, 768).view(1, 3, 16, 16)
    assert_equal_logits(np.array(logits), logits_of(network, x), 1e-5)
    assert classes == list(description.classes)
    assert ran.stderr == ""
