"""The precision to deploy is chosen for the device that a run is for."""

from dataclasses import replace
from typing import Any

import pytest

from factories.reports import INT8
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.check import Limits, check_fit
from sdedge.deploy.fit.recommend import recommend
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.formats.onnx.write import program_model
from sdedge.deploy.int8.quantize import quantize
from sdedge.deploy.int8.report import Int8Report
from sdedge.deploy.ir.program import INPUT, Program
from sdedge.deploy.ir.trace import to_program
from sdedge.deploy.targets.target import HOST, Target, load_target
from sdedge.genotype import published
from sdedge.space.saved import NetworkDescription

# Slower in int8 on the machine of the export, which is x86.
SLOW_HERE = replace(
    INT8,
    onnx_accuracy=0.872,
    latency_p50_ms=2.0,
    recommended="fp32",
    reasons=("int8 takes 2.000 ms on the CPU that exported it, fp32 0.750",),
)
INACCURATE = replace(SLOW_HERE, onnx_accuracy=0.8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """A network in fp32 and int8."""
    description = NetworkDescription(
        genotype=published()["DARTS_V2"].genotype,
        channels=4,
        cells=2,
        stem="cifar",
        classes=("a", "b"),
        image_size=16,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        dataset="d",
    )
    program = to_program(description.build().eval(), description)
    ranges = {INPUT: (-1.0, 1.0), **{node.output: (-1.0, 1.0) for node in program.nodes}}

    folder = tmp_path_factory.mktemp("files")

    def stored(name: str, program: Program) -> Artifact:
        path = folder / name
        path.write_bytes(program_model(program, description).SerializeToString())
        return Artifact.open(path)

    return stored("model.onnx", program), stored("model.int8.onnx", quantize(program, ranges))


def advice(
    report: Int8Report, files: tuple[Artifact, Artifact], target: Target | None, **limits: Any
) -> tuple[str, str | None, str]:
    requirements = Requirements(
        target=target, limits=Limits(**limits), precision="int8", classes=2, image_size=16
    )
    judged = recommend(report, *files, requirements)
    return judged.recommended, judged.recommended_for, "; ".join(judged.reasons)


def test_a_target_that_runs_int8_alone_gets_int8(files: tuple[Artifact, Artifact]) -> None:
    stm = load_target("stm32f746")
    assert advice(SLOW_HERE, files, stm) == ("int8", "stm32f746", "stm32f746 runs int8 alone")
    precision, _, reasons = advice(INACCURATE, files, stm)
    assert precision == "int8"
    assert reasons == "stm32f746 runs int8 alone; int8 loses 7.50 points of accuracy, more than 0.5"


def test_a_target_that_runs_fp32_alone_gets_fp32(files: tuple[Artifact, Artifact]) -> None:
    pi = load_target("pi4")
    fp32 = replace(pi, name="old-board", rates={"fp32": pi.rates["fp32"]})
    assert advice(INT8, files, fp32) == ("fp32", "old-board", "old-board runs fp32 alone")


def test_where_a_target_runs_both_its_predicted_latency_decides(
    files: tuple[Artifact, Artifact],
) -> None:
    pi = load_target("pi4")
    assert advice(SLOW_HERE, files, pi) == ("int8", "pi4", "")
    slow = replace(pi, rates={"fp32": pi.rates["fp32"], "int8": pi.rates["fp32"]})
    precision, _, reasons = advice(INT8, files, slow)
    assert precision == "fp32"
    assert reasons.startswith("int8 loses 2.50 points")
    assert "int8 is predicted to take" in reasons
    assert advice(INACCURATE, files, pi)[0] == "fp32"


def test_a_limit_that_fp32_alone_breaks_decides_for_int8(files: tuple[Artifact, Artifact]) -> None:
    pi = load_target("pi4")
    fp32, int8 = (check_fit(file.graph, pi, Limits()).ram_bytes / 1024 for file in files)
    precision, _, reasons = advice(INACCURATE, files, pi, max_ram_kb=(fp32 + int8) / 2)
    assert precision == "int8"
    assert reasons.startswith("fp32 is over the limit of RAM; int8 loses 7.50 points")


@pytest.mark.parametrize("target", [None, replace(load_target("pi4"), name=HOST)])
def test_without_a_target_or_on_this_machine_what_was_measured_here_stands(
    files: tuple[Artifact, Artifact], target: Target | None
) -> None:
    assert advice(SLOW_HERE, files, target) == ("fp32", None, SLOW_HERE.reasons[0])
