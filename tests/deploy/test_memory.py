"""The memory plan, held against hand-worked examples and every order of small random graphs."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from factories.networks import describe
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.ir.graph import Graph, Kind, Operator, Value
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.memory.arena import ALIGNMENT, Lifetime, arena_bytes, place
from sdedge.deploy.memory.buffers import Buffers
from sdedge.deploy.memory.plan import flash_bytes, plan_memory
from sdedge.deploy.memory.schedule import best_order
from sdedge.deploy.targets.target import load_target


def graph_of(
    sizes: dict[str, int],
    wiring: Sequence[tuple[str, tuple[str, ...], str]],
    unknown: Sequence[str] = (),
) -> Graph:
    """A graph of int8 tensors by their bytes: `x` is the image, the last output the scores."""
    kinds: dict[str, Kind] = {"Conv": "dense", "Flatten": "movement", "Concat": "movement"}
    operators = tuple(
        Operator(
            name=f"make {output}",
            op_type=op_type,
            kind=kinds.get(op_type, "elementwise"),
            precision="int8",
            inputs=inputs,
            outputs=(output,),
            macs=0,
            weight_bytes=0,
            input_bytes=0,
            output_bytes=0,
            unpriced=op_type if op_type in unknown else None,
        )
        for op_type, inputs, output in wiring
    )
    return Graph(
        operators=operators,
        values={n: Value(name=n, shape=(1, s), precision="int8") for n, s in sizes.items()},
        inputs=("x",),
        outputs=(wiring[-1][2],),
        parameters=0,
        weight_bytes=0,
        file_size_bytes=0,
        classes=sizes[wiring[-1][2]],
    )


def network(genotype: str, cells: int = 5, channels: int = 8) -> Graph:
    description = describe(genotype, channels=channels, cells=cells, classes=2)
    torch.manual_seed(0)
    program = to_program(description.build().eval(), description)  # in the order of tracing
    return read_graph(program_model(program, description).SerializeToString())


def orders(graph: Graph) -> Iterator[list[Operator]]:
    """Every order in which each operator comes after those that make its inputs."""

    def extend(order: list[Operator], made: set[str]) -> Iterator[list[Operator]]:
        if len(order) == len(graph.operators):
            yield order
        for operator in graph.operators:
            if operator not in order and made.issuperset(operator.inputs):
                yield from extend([*order, operator], {*made, *operator.outputs})

    yield from extend([], {*graph.inputs})


def peak_of(graph: Graph, order: Sequence[Operator]) -> int:
    """Said in another way than in the package: tensor by tensor, step by step."""
    size = {name: value.size_bytes for name, value in graph.values.items()}
    last = {n: max(i for i, o in enumerate(order) if n in o.inputs) for n in size if n != "end"}
    peak = size["x"]
    for step, operator in enumerate(order):
        made = {"x"} | {name for earlier in order[:step] for name in earlier.outputs}
        used = sum(size[name] for name in made if name == "end" or last[name] >= step)
        (result,) = operator.outputs
        replaced = operator.kind == "elementwise" and any(
            last[name] == step and size[name] == size[result] for name in operator.inputs
        )
        peak = max(peak, used if replaced else used + size[result])
    return peak


def random_graph(seed: int) -> Graph:
    """Six to eight operators on a few of the tensors before; what nothing reads goes to the end."""
    choose = random.Random(seed)
    names = ["x"]
    wiring: list[tuple[str, tuple[str, ...], str]] = []
    for index in range(choose.randint(5, 7)):
        inputs = tuple(choose.sample(names, min(len(names), choose.randint(1, 2))))
        wiring.append((choose.choice(["Conv", "Relu", "Add"]), inputs, f"t{index}"))
        names.append(f"t{index}")
    read = {name for _, inputs, _ in wiring for name in inputs}
    wiring.append(("Concat", tuple(name for name in names if name not in read), "end"))
    sizes = {name: choose.choice([10, 10, 20, 30, 50]) for name in [*names, "end"]}
    return graph_of(sizes, wiring)


@pytest.mark.parametrize("seed", range(60))
def test_no_order_of_a_small_graph_is_better(seed: int) -> None:
    graph = random_graph(seed)
    plan = plan_memory(graph)
    peaks = [peak_of(graph, order) for order in orders(graph)]
    assert plan.optimal
    assert plan.peak_ram_bytes == min(peaks)
    by_name = {operator.name: operator for operator in graph.operators}
    assert plan.peak_ram_bytes == peak_of(graph, [by_name[name] for name in plan.order])
    assert plan.file_order_bytes == peak_of(graph, graph.operators)


def test_the_random_graphs_have_good_and_bad_orders() -> None:
    spread = [
        max(peaks) > min(peaks)
        for peaks in ([peak_of(g, o) for o in orders(g)] for g in map(random_graph, range(20)))
    ]
    assert sum(spread) > 10


class TestByHand:
    def test_two_branches(self) -> None:
        # Each branch swells to 100 and shrinks to 10: one after the other, not side by side.
        sizes = {"x": 20, "a": 100, "b": 100, "c": 10, "d": 10, "e": 20}
        wiring = [
            ("Conv", ("x",), "a"),
            ("Conv", ("x",), "b"),
            ("Conv", ("a",), "c"),
            ("Conv", ("b",), "d"),
            ("Concat", ("c", "d"), "e"),
        ]
        plan = plan_memory(graph_of(sizes, wiring))
        assert plan.file_order_bytes == 20 + 100 + 100
        # The image, a branch's large tensor, and the small one: of this branch or of the other.
        assert plan.peak_ram_bytes == 20 + 100 + 10
        assert plan.optimal
        assert plan.peak_operator == "make c"
        assert [(v.name, v.size_bytes) for v in plan.live] == [("a", 100), ("x", 20), ("c", 10)]

    @pytest.mark.parametrize(
        ("op_type", "inputs", "size", "peak"),
        [
            ("Relu", ("a",), 50, 60),  # over a; the peak is x and a
            ("Add", ("a", "a"), 50, 60),
            ("Mul", ("a",), 20, 70),  # smaller than a: beside it
            ("Conv", ("a",), 50, 100),  # reads a more than once
            ("Add", ("a", "x"), 50, 60),  # over a; x is read to the end
            ("Add", ("x", "a"), 10, 60),  # over x
        ],
    )
    def test_results_written_over_an_input(
        self, op_type: str, inputs: tuple[str, ...], size: int, peak: int
    ) -> None:
        sizes = {"x": 10, "a": 50, "b": size, "end": 1}
        wiring = [("Conv", ("x",), "a"), (op_type, inputs, "b"), ("Conv", ("b",), "end")]
        plan = plan_memory(graph_of(sizes, wiring))
        assert plan.peak_ram_bytes == peak
        assert sum(value.size_bytes for value in plan.live) == peak

    def test_an_input_that_is_needed_later_is_not_written_over(self) -> None:
        sizes = {"x": 10, "a": 50, "b": 50, "c": 50, "end": 1}
        wiring = [
            ("Conv", ("x",), "a"),
            ("Relu", ("a",), "b"),
            ("Conv", ("b",), "c"),
            ("Concat", ("a", "c"), "end"),
        ]
        assert plan_memory(graph_of(sizes, wiring)).peak_ram_bytes == 150

    def test_an_unknown_operator_is_not_trusted_to_work_in_place(self) -> None:
        sizes = {"x": 10, "a": 50, "b": 50}
        wiring = [("Conv", ("x",), "a"), ("Celu", ("a",), "b")]
        assert plan_memory(graph_of(sizes, wiring)).peak_ram_bytes == 60
        assert plan_memory(graph_of(sizes, wiring, ["Celu"])).peak_ram_bytes == 100

    def test_a_reshaped_tensor_is_the_same_memory(self) -> None:
        sizes = {"x": 10, "a": 50, "flat": 50, "end": 5}
        wiring = [("Conv", ("x",), "a"), ("Flatten", ("a",), "flat"), ("Conv", ("flat",), "end")]
        plan = plan_memory(graph_of(sizes, wiring))
        assert plan.peak_ram_bytes == 60
        # and is needed for as long as one of its two names
        wiring.insert(2, ("Conv", ("a",), "b"))
        wiring[-1] = ("Concat", ("flat", "b"), "end")
        assert plan_memory(graph_of({**sizes, "b": 30}, wiring)).peak_ram_bytes == 50 + 30 + 5

    def test_the_image_alone_can_be_the_peak(self) -> None:
        plan = plan_memory(graph_of({"x": 10, "end": 10}, [("Relu", ("x",), "end")]))
        assert plan.peak_ram_bytes == 10
        assert [value.name for value in plan.live] == ["end"]


class TestNetworks:
    @pytest.mark.parametrize("genotype", ["DARTS_V2", "NASNet_A", "CDARTS_CyDAS_cifar"])
    def test_published_cells_are_solved(self, genotype: str) -> None:
        graph = network(genotype)
        plan = plan_memory(graph)
        assert plan.optimal
        assert plan.peak_ram_bytes < plan.file_order_bytes
        assert plan.peak_ram_bytes == sum(value.size_bytes for value in plan.live)
        assert list(plan.live) == sorted(plan.live, key=lambda v: (-v.size_bytes, v.name))
        made = {*graph.inputs}
        by_name = {operator.name: operator for operator in graph.operators}
        assert {*plan.order} == {*by_name}
        for name in plan.order:
            assert made.issuperset(by_name[name].inputs)
            made.update(by_name[name].outputs)

    def test_int8_takes_a_quarter(self) -> None:
        graph = network("DARTS_V2")
        plain, quantised = plan_memory(graph), plan_memory(graph.as_int8())
        assert 4 * quantised.peak_ram_bytes == plain.peak_ram_bytes

    def test_a_search_that_gives_up_says_so(self) -> None:
        memory = Buffers(network("NASNet_A")).memory()
        solved, hurried = best_order(memory), best_order(memory, states=200)
        assert solved.optimal
        assert not hurried.optimal
        assert sorted(hurried.order) == sorted(solved.order)
        assert solved.peak_bytes <= hurried.peak_bytes == memory.peak(hurried.order)
        assert hurried.peak_bytes <= memory.peak(range(memory.operators))


class TestArena:
    def test_gaps_cost_memory(self) -> None:
        # The third buffer is alive with each of the others, but there is no room between them.
        lifetimes = [Lifetime(64, 0, 1), Lifetime(48, 1, 3), Lifetime(80, 2, 3)]
        assert place(lifetimes) == [0, 80, 0]
        assert arena_bytes(lifetimes) == 128

    def test_a_gap_is_used(self) -> None:
        lifetimes = [Lifetime(64, 0, 0), Lifetime(32, 0, 2), Lifetime(16, 1, 1)]
        assert place(lifetimes) == [0, 64, 0]
        assert arena_bytes(lifetimes) == 96

    def test_offsets_are_aligned(self) -> None:
        lifetimes = [Lifetime(33, 0, 1), Lifetime(20, 0, 1), Lifetime(7, 0, 1)]
        assert [offset % ALIGNMENT for offset in place(lifetimes)] == [0, 0, 0]
        assert arena_bytes(lifetimes) == 48 + 32 + 16

    @pytest.mark.parametrize("genotype", ["DARTS_V1", "NASNet_A"])
    def test_what_is_alive_at_once_never_overlaps(self, genotype: str) -> None:
        buffers = Buffers(network(genotype))
        memory = buffers.memory()
        schedule = best_order(memory)
        moments = memory.moments(schedule.order)
        lifetimes = buffers.lifetimes(moments)
        for time, moment in enumerate(moments):
            alive = [b for b in lifetimes if b.first <= time <= b.last]
            assert sum(b.size for b in alive) == sum(v.size_bytes for v in buffers.alive(moment))
        offsets = place(lifetimes)
        for i, (a, start) in enumerate(zip(lifetimes, offsets, strict=True)):
            for b, other in zip(lifetimes[:i], offsets, strict=False):
                together = a.first <= b.last and b.first <= a.last
                assert not together or start + a.size <= other or other + b.size <= start
        assert arena_bytes(lifetimes) >= schedule.peak_bytes
        assert plan_memory(network(genotype)).arena_bytes == arena_bytes(lifetimes)


def resnet8() -> Graph:
    """ResNet-8 of MLPerf Tiny, whose sizes on devices are published."""
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []

    def conv(source: str, name: str, shape: tuple[int, int, int], stride: int = 1) -> str:
        c_out, c_in, kernel = shape
        weights.append(
            numpy_helper.from_array(np.ones((c_out, c_in, kernel, kernel), np.float32), f"{name}.w")
        )
        weights.append(numpy_helper.from_array(np.ones(c_out, np.float32), f"{name}.b"))
        pads = [0, 0, 1, 1] if stride == 2 and kernel == 3 else [kernel // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.w", f"{name}.b"],
                [name],
                name,
                pads=pads,
                strides=[stride] * 2,
            )
        )
        return name

    def node(op_type: str, inputs: list[str], name: str) -> str:
        nodes.append(helper.make_node(op_type, inputs, [name], name))
        return name

    x = node("Relu", [conv("image", "stem", (16, 3, 3))], "stem.relu")
    c_in = 16
    for block, width in enumerate((16, 32, 64)):
        stride = 1 if width == c_in else 2
        y = node("Relu", [conv(x, f"{block}.1", (width, c_in, 3), stride)], f"{block}.relu")
        y = conv(y, f"{block}.2", (width, width, 3))
        x = conv(x, f"{block}.skip", (width, c_in, 1), stride) if stride == 2 else x
        x = node("Relu", [node("Add", [x, y], f"{block}.add")], f"{block}.out")
        c_in = width
    flat = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flat")
    weights.append(numpy_helper.from_array(np.ones((10, 64), np.float32), "head.w"))
    weights.append(numpy_helper.from_array(np.ones(10, np.float32), "head.b"))
    nodes.append(helper.make_node("Gemm", [flat, "head.w", "head.b"], ["scores"], "head", transB=1))
    graph = helper.make_graph(
        nodes,
        "resnet8",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return read_graph(model.SerializeToString())


class TestPublishedSizes:
    def test_weights_of_resnet8_in_flash(self) -> None:
        graph = resnet8()
        assert 12.4e6 < graph.macs < 12.6e6
        # 76.9 KiB: STM32Cube.AI 9.1, in ST's model zoo.
        assert graph.as_int8().weight_bytes / 1024 == pytest.approx(76.9, abs=0.05)

    def test_resnet8_as_a_tflite_file(self) -> None:
        operator_bytes = load_target("cortex-m4-tflm").operator_bytes
        size = flash_bytes(resnet8().as_int8(), operator_bytes=operator_bytes)
        assert size == pytest.approx(98_496, rel=0.03)  # bytes; MLPerf Tiny's reference model

    def test_resnet8_in_ram(self) -> None:
        # The block's input, its first result and its second, each 16 x 32 x 32.
        assert plan_memory(resnet8().as_int8()).peak_ram_bytes == 48 * 1024

    def test_flash_adds_up(self) -> None:
        graph = resnet8()
        assert flash_bytes(graph, operator_bytes=0) == graph.weight_bytes
        assert flash_bytes(graph, 1000, operator_bytes=3) - graph.weight_bytes == 1000 + 3 * len(
            graph.operators
        )
        quantised = graph.as_int8()
        channels = 16 * 3 + 32 * 3 + 64 * 3 + 10
        assert flash_bytes(quantised, operator_bytes=0) == quantised.weight_bytes + 8 * channels
