"""Which precision to deploy on the device that a run is for."""

from dataclasses import replace

from sdedge.config import LIMIT_NAMES
from sdedge.deploy.artifact import Artifact
from sdedge.deploy.fit.check import Fit, check_fit
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.int8.report import Int8Report, accuracy_lost
from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.targets.target import HOST


def recommend(
    report: Int8Report, fp32: Artifact, int8: Artifact, requirements: Requirements
) -> Int8Report:
    """The report on two files with a recommendation for the target of `requirements`.

    A precision that the target does not run, or that alone breaks a limit, is out. Where both are
    left, INT8 has to be predicted faster, and to lose little accuracy. Without a target, or where
    it is this machine, the report is what was measured here, and stays.
    """
    target = requirements.target
    if target is None or target.name == HOST:
        return report
    lost = accuracy_lost(report.fp32_onnx_accuracy, report.onnx_accuracy)
    if len(target.precisions) == 1:
        (recommended,) = target.precisions
        reasons = [f"{target.name} runs {recommended} alone"]
        reasons += lost if recommended == "int8" else []
    else:
        exact, quick = (
            check_fit(file.graph, target, requirements.limits, memory=file.memory)
            for file in (fp32, int8)
        )
        recommended, reasons = _choose(exact, quick, lost)
    return replace(
        report, recommended=recommended, recommended_for=target.name, reasons=tuple(reasons)
    )


def _choose(fp32: Fit, int8: Fit, lost: list[str]) -> tuple[Precision, list[str]]:
    if int8.fits and not fp32.fits:
        return "int8", [f"fp32 is over {_over(fp32)}", *lost]
    against = [] if int8.fits or not fp32.fits else [f"int8 is over {_over(int8)}"]
    against += lost
    quick, exact = int8.prediction, fp32.prediction
    if quick and exact and quick.latency_ms >= exact.latency_ms:
        against.append(
            f"int8 is predicted to take {quick.latency_ms:.3g} ms, fp32 {exact.latency_ms:.3g}"
        )
    return ("fp32", against) if against else ("int8", [])


def _over(fit: Fit) -> str:
    return " and ".join(f"the limit of {LIMIT_NAMES[limit]}" for limit in fit.missed)
