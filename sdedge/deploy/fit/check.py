"""Whether a network fits: latency, RAM, flash and parameters against limits and a device's own.

1 kB is 1024 bytes. RAM is the arena of activations, gaps included, in the order of operators that
needs least: sdedge writes its files in that order, but a file of another tool may need more. On a
microcontroller the runtime shares RAM and flash with the network, so what it takes counts against
every limit. A board that runs an operating system has its runtime on a disk: there the limits are
of the network alone, activations for RAM and the stored network for flash, and the board's own RAM
has to hold activations, weights and runtime.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from sdedge.bounds import Confidence
from sdedge.config import check_setting
from sdedge.deploy.ir.graph import Graph
from sdedge.deploy.memory.plan import OPERATOR_BYTES, MemoryPlan, flash_bytes, plan_memory
from sdedge.deploy.targets.predict import Prediction, predict
from sdedge.deploy.targets.target import Target
from sdedge.errors import ConfigError

BYTES_PER_KB = 1024
_Limit = Annotated[float, Meta(gt=0, le=1e12)]  # to 30 years, 900 TB, parameters of no network


class LimitSettings(TypedDict, total=False):
    """The fields of `Limits` as keyword arguments of a function."""

    max_latency_ms: float | None
    max_ram_kb: float | None
    max_flash_kb: float | None
    max_params: int | None
    confidence: float | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user allows; None: no limit. Raises ConfigError for one that is out of range.

    A limit on latency is held against the middle of a prediction, or against the upper end of the
    interval that holds a share `confidence` of networks.
    """

    max_latency_ms: float | None = None
    max_ram_kb: float | None = None
    max_flash_kb: float | None = None
    max_params: int | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.active.items():
            check_setting(option(name), value, _Limit)
        if self.confidence is not None:
            check_setting("--confidence", self.confidence, Confidence)

    @property
    def active(self) -> dict[str, float]:
        """The limits that are set, by field name."""
        limits = {name: value for name, value in asdict(self).items() if value is not None}
        limits.pop("confidence", None)
        return limits


def option(limit: str) -> str:
    """The command line's name of a limit."""
    return "--" + limit.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit, and what was found.

    `limit` is a field of `Limits`, or "ram" or "flash" for what the device itself has. Where what
    was found is a prediction, from `low` to `high` is its interval, and `found` the middle of it,
    or with `upper` its end.
    """

    limit: str
    allowed: float
    found: float
    unit: str  # "ms", "kB", or "" for a count
    low: float | None = None
    high: float | None = None
    coverage: float | None = None  # share of networks that lie between low and high
    upper: bool = False

    @property
    def fits(self) -> bool:
        """Whether what was found is within what is allowed."""
        return self.found <= self.allowed

    @property
    def certain(self) -> bool:
        """Whether the whole interval of a prediction is on one side of the limit."""
        if self.low is None or self.high is None:
            return True
        return self.high <= self.allowed or self.low > self.allowed

    @property
    def margin(self) -> float:
        """What is left, in the check's unit; negative: what is too much."""
        return self.allowed - self.found

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        verdict = {"margin": self.margin, "fits": self.fits, "certain": self.certain}
        return {**asdict(self), **verdict}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A network against a device and limits; it fits when every check does.

    `ram_bytes` and `flash_bytes` are what the limits are held against. Without a device there is
    no prediction.
    """

    checks: tuple[Check, ...]
    prediction: Prediction | None
    memory: MemoryPlan
    ram_bytes: int
    file_order_ram_bytes: int  # where operators run as they are stored
    flash_bytes: int
    parameters: int

    @property
    def fits(self) -> bool:
        """Whether every check does."""
        return all(check.fits for check in self.checks)

    @property
    def missed(self) -> tuple[str, ...]:
        """The limits that are not met."""
        return tuple(check.limit for check in self.checks if not check.fits)

    def with_latency(self, measured_ms: float) -> "Fit":
        """The same with a measured latency, not the predicted one, held against the limit on it."""
        checks = (
            replace(check, found=measured_ms, low=None, high=None, coverage=None, upper=False)
            if check.limit == "max_latency_ms"
            else check
            for check in self.checks
        )
        return replace(self, checks=tuple(checks))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "fits": self.fits,
            "checks": [check.to_dict() for check in self.checks],
            "prediction": self.prediction and _prediction(self.prediction),
            "peak_ram_bytes": self.memory.peak_ram_bytes,
            "arena_bytes": self.memory.arena_bytes,
            "peak_operator": self.memory.peak_operator,
            "live_at_peak": [
                {"name": value.name, "shape": list(value.shape), "size_bytes": value.size_bytes}
                for value in self.memory.live
            ],
            "ram_bytes": self.ram_bytes,
            "file_order_ram_bytes": self.file_order_ram_bytes,
            "flash_bytes": self.flash_bytes,
            "parameters": self.parameters,
        }


def check_fit(
    graph: Graph,
    target: Target | None,
    limits: Limits,
    *,
    memory: MemoryPlan | None = None,
    partial: bool = False,
) -> Fit:
    """Hold a network against `limits` and against what `target` has.

    `memory` is the plan of `graph`, where it has been made already.
    Raises ConfigError for a limit on latency without a target, or with `partial` (a latency that
    leaves operators out cannot prove a limit), and TargetError when the target cannot predict
    the graph: an operator it does not know, unless `partial`, or a precision it does not run.
    """
    if limits.max_latency_ms is not None and (target is None or partial):
        remedy = "--target NAME" if target is None else "no --partial, which leaves operators out"
        raise ConfigError(f"--max-latency-ms {limits.max_latency_ms:g} needs {remedy}")
    share = limits.confidence
    prediction = predict(graph, target, partial=partial, coverage=share) if target else None
    memory = memory or plan_memory(graph)
    shares = target is not None and target.flash_bytes is not None
    runtime_ram = target.runtime_ram_bytes if target and shares else 0
    ram = memory.arena_bytes + runtime_ram
    flash = flash_bytes(
        graph,
        target.code_bytes if target and shares else 0,
        operator_bytes=target.operator_bytes if target else OPERATOR_BYTES,
    )
    found = {
        "max_latency_ms": _held(prediction, limits) if prediction else math.inf,
        "max_ram_kb": ram / BYTES_PER_KB,
        "max_flash_kb": flash / BYTES_PER_KB,
        "max_params": graph.parameters,
    }
    checks = [
        Check(
            limit=name,
            allowed=allowed,
            found=found[name],
            unit="ms" if name.endswith("_ms") else "kB" if name.endswith("_kb") else "",
            **(_interval(prediction, limits) if prediction and name == "max_latency_ms" else {}),
        )
        for name, allowed in limits.active.items()
    ]
    return Fit(
        checks=(*checks, *(_of_device(graph, target, ram, flash) if target else ())),
        prediction=prediction,
        memory=memory,
        ram_bytes=ram,
        file_order_ram_bytes=memory.file_order_arena_bytes + runtime_ram,
        flash_bytes=flash,
        parameters=graph.parameters,
    )


def _held(prediction: Prediction, limits: Limits) -> float:
    """What of a prediction is held against a limit."""
    return prediction.latency_ms if limits.confidence is None else prediction.high_ms


def _interval(prediction: Prediction, limits: Limits) -> dict[str, Any]:
    return {
        "low": prediction.low_ms,
        "high": prediction.high_ms,
        "coverage": prediction.coverage,
        "upper": limits.confidence is not None,
    }


def _of_device(graph: Graph, target: Target, ram: int, flash: int) -> Iterator[Check]:
    if target.flash_bytes is None:
        ram += graph.weight_bytes + target.runtime_ram_bytes
    else:
        yield _device_check("flash", target.flash_bytes, flash)
    yield _device_check("ram", target.ram_bytes, ram)


def _device_check(limit: str, allowed: int, found: int) -> Check:
    return Check(limit=limit, allowed=allowed / BYTES_PER_KB, found=found / BYTES_PER_KB, unit="kB")


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {**vars(prediction), "by_kind_ms": dict(prediction.by_kind_ms)}
