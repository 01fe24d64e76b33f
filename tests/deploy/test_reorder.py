"""The files that sdedge writes hold their operators in the order that the RAM figure is of."""

import random

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from factories.exports import quantize_network, to_onnx
from sdedge.data.dataset import Dataset
from sdedge.deploy.formats.onnx.order import in_best_order
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.memory.plan import plan_memory
from sdedge.genotype import Genotype, published
from sdedge.space.darts.cell import random_genotype
from sdedge.space.saved import NetworkDescription

CELLS = {
    # Of the published cells, one that gains by another order, in int8 with floating-point sums.
    "PDARTS": published()["PDARTS"].genotype,
    # What an average pool reads in bytes, a sum reads dequantised, and earlier.
    "a pool and a sum": Genotype(
        normal=(
            ("dil_conv_3x3", 1),
            ("skip_connect", 0),
            ("max_pool_3x3", 0),
            ("dil_conv_3x3", 2),
            ("dil_conv_3x3", 3),
            ("dil_conv_3x3", 1),
            ("avg_pool_3x3", 0),
            ("sep_conv_5x5", 2),
        ),
        reduce=(
            ("sep_conv_5x5", 1),
            ("sep_conv_5x5", 0),
            ("sep_conv_5x5", 2),
            ("dil_conv_3x3", 1),
            ("dil_conv_5x5", 2),
            ("dil_conv_3x3", 1),
            ("avg_pool_3x3", 2),
            ("avg_pool_3x3", 4),
        ),
    ),
    **{f"random {seed}": random_genotype(random.Random(seed)) for seed in range(3)},
}


def describe(genotype: Genotype) -> NetworkDescription:
    return NetworkDescription(
        genotype=genotype,
        channels=4,
        cells=3,
        stem="cifar",
        classes=("dark", "grey", "bright"),
        image_size=16,
        mean=(0.46, 0.47, 0.48),
        std=(0.21, 0.22, 0.23),
        dataset="tiny",
    )


def scores(model: bytes) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x})[0]


@pytest.mark.parametrize("genotype", CELLS.values(), ids=CELLS)
def test_an_exported_file_is_stored_in_the_order_that_needs_least(
    genotype: Genotype, tiny_dataset: Dataset
) -> None:
    torch.manual_seed(0)
    description = describe(genotype)
    network = description.build().eval()
    stored = to_onnx(network, description).SerializeToString()
    traced = program_model(to_program(network, description), description).SerializeToString()
    assert len(stored) == len(traced)
    np.testing.assert_array_equal(scores(stored), scores(traced))
    plan, before = (plan_memory(read_graph(model)) for model in (stored, traced))
    assert plan.file_order_bytes == plan.peak_ram_bytes == before.peak_ram_bytes
    assert plan.file_order_arena_bytes == plan.arena_bytes == before.arena_bytes
    assert before.file_order_bytes > plan.file_order_bytes  # the order of tracing needs more

    int8 = quantize_network(network, description, tiny_dataset, stored, calibration_images=12)
    plan = plan_memory(read_graph(int8.data))
    assert plan.file_order_bytes == plan.peak_ram_bytes
    assert plan.file_order_arena_bytes == plan.arena_bytes


def test_a_shuffled_int8_file_gets_its_order_and_its_outputs_back(tiny_dataset: Dataset) -> None:
    torch.manual_seed(0)
    description = describe(CELLS["PDARTS"])
    network = description.build().eval()
    fp32 = to_onnx(network, description).SerializeToString()
    stored = quantize_network(network, description, tiny_dataset, fp32, calibration_images=12).data
    model, choose = onnx.load_from_string(stored), random.Random(0)
    left, made = list(model.graph.node), {"input", *(w.name for w in model.graph.initializer)}
    del model.graph.node[:]
    while left:
        node = choose.choice([n for n in left if made.issuperset(n.input)])
        left.remove(node)
        made.update(node.output)
        model.graph.node.append(node)
    shuffled = plan_memory(read_graph(model.SerializeToString()))
    assert shuffled.file_order_bytes > shuffled.peak_ram_bytes
    ordered = in_best_order(model)
    onnx.checker.check_model(ordered, full_check=True)
    plan = plan_memory(read_graph(ordered.SerializeToString()))
    assert plan.file_order_bytes == plan.peak_ram_bytes == shuffled.peak_ram_bytes
    np.testing.assert_array_equal(scores(ordered.SerializeToString()), scores(stored))
