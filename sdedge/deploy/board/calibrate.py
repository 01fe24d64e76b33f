"""A profile of a device from what was measured on it by the program of a bundle.

The same program measures this machine (`measure_host`). Rates are fitted to the micro-benchmarks;
how far predictions may be off is taken from those of them that are whole networks, each predicted
by rates fitted without it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from sdedge.bounds import Words
from sdedge.deploy.board.micro import NETWORK, file_name, micro_models, micro_set
from sdedge.deploy.formats.onnx.reader.graph import read_graph
from sdedge.deploy.ir.graph import PRECISIONS, Precision
from sdedge.deploy.targets.band import ErrorBand, error_band
from sdedge.deploy.targets.rates import Sample, fit_rates, held_out_ratios
from sdedge.deploy.targets.target import (
    HOST,
    KINDS,
    MEMORY,
    Rates,
    Target,
    check_name,
    shipped_target,
)
from sdedge.errors import RunError, TargetError
from sdedge.escape import quoted, short
from sdedge.run import read_json
from sdedge.schema import to_record

FORMAT = 1
MAX_THREADS = 1024
MAX_LATENCY_MS = 1e7  # of a micro-benchmark
FOLDER = "micro/"  # of the micro-benchmarks in a bundle
SPREAD = 1.0
FOLDS = 6
# Of ONNX Runtime's library and its session with a small network, as on x86-64.
RUNTIME_CODE_BYTES = 20 * 2**20
RUNTIME_RAM_BYTES = 40 * 2**20
OPERATOR_BYTES = 100  # in an ONNX file
ASSUMED = Rates(
    overhead_us={"run": 5.0, "node": 1.0, "pixel": 0.002},
    gmacs_per_s={
        "dense": 30.0,
        "dense narrow": 10.0,
        "dense unaligned": 10.0,
        "pointwise": 30.0,
        "pointwise grouped": 10.0,
        "pointwise narrow": 10.0,
        "pointwise unaligned": 10.0,
        "depthwise": 15.0,
        "depthwise unaligned": 5.0,
        "linear": 15.0,
    },
    gbytes_per_s={
        **dict.fromkeys(KINDS, 30.0),
        **{f"{kind} {path}": 15.0 for kind in KINDS[4:] for path in ("unaligned", "float")},
        MEMORY: 15.0,
    },
    channel_block=1,
    channel_multiple=1,
    rest_alone=False,
    cache_bytes=None,
    error=ErrorBand(low=0.5, high=2.0, coverage=0.9, networks=1),
)
# NEON, AVX2 and AVX-512 hold 4, 8 and 16 floats; caches that a core has to itself.
BLOCKS = (1, 4, 8, 16)
MULTIPLES = ((1, False), (4, False), (4, True), (8, False), (8, True))  # rest_alone
CACHES = (2**18, 2**20, 2**23)


@dataclass(frozen=True, kw_only=True)
class _Machine:
    cpu_model: Words
    onnxruntime_version: Words


@dataclass(frozen=True, kw_only=True)
class _Model:
    file: str
    outputs_match: bool


@dataclass(frozen=True, kw_only=True)
class _Micro:
    file: str
    latency_p50_ms: Annotated[float, Meta(gt=0, le=MAX_LATENCY_MS)]


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What is read of result.json."""

    threads: Annotated[int, Meta(ge=1, le=MAX_THREADS)]
    machine: _Machine
    models: tuple[_Model, ...]
    micro: tuple[_Micro, ...]


def calibrate(
    name: str, result: Mapping[str, Any], *, source: str, ram_bytes: int | None = None
) -> Target:
    """The profile that follows from a result; `source` names its file in messages.

    What cannot be measured (RAM, clock, the device's name) is taken from the profile that ships
    under `name`; `ram_bytes` goes before it, and is needed where there is none, but for the host.
    Raises TargetError when the result is damaged, of an emulated processor, of wrong outputs, or
    lacks micro-benchmarks.
    """
    check_name(name)
    measured = _checked(result, source)
    latencies = {each.file.removeprefix(FOLDER): each.latency_p50_ms for each in measured.micro}
    machine, threads = measured.machine, measured.threads
    device = _device(name, machine.cpu_model, ram_bytes)
    rates = {
        precision: measured_rates(micro_samples(precision, latencies))
        for precision in PRECISIONS
        if _measured(precision, latencies, source)
    }
    if not rates:
        raise TargetError(
            f"{source}: there are no micro-benchmarks in it; bundle and measure again"
        )
    runtime = f"ONNX Runtime {machine.onnxruntime_version}"
    count = f"{threads} thread{'s' if threads > 1 else ''}"
    unsettled = count_unsettled(result)
    sources = {
        "threads": f"as measured: {source}",
        "code_bytes": "estimated: the library of ONNX Runtime",
        "operator_bytes": "estimated: of the ONNX files that sdedge exports",
        "runtime_ram_bytes": "estimated: a session with a small network on x86-64",
        "rates": f"measured on {machine.cpu_model} with {runtime}, {count}: {source}"
        + (f"; {unsettled} micro-benchmarks did not settle" if unsettled else ""),
    }
    kept = {key: value for key, value in device.sources.items() if key.split(".")[0] not in sources}
    return replace(
        device,
        runtime=runtime,
        threads=threads,
        code_bytes=RUNTIME_CODE_BYTES,
        operator_bytes=OPERATOR_BYTES,
        runtime_ram_bytes=RUNTIME_RAM_BYTES,
        measured=True,
        rates=rates,
        sources={**kept, **sources},
    )


def count_unsettled(result: Mapping[str, Any]) -> int:
    """Micro-benchmarks of a result whose median did not settle: other work used the machine."""
    return sum(row.get("settled") is False for row in result["micro"])


def _device(name: str, chip: str, ram_bytes: int | None) -> Target:
    """What is known of the device beforehand: all but its runtime and rates."""
    known = shipped_target(name)
    source = "as given"
    if known is not None:
        if ram_bytes is None:
            return known
        return replace(known, ram_bytes=ram_bytes, sources={**known.sources, "ram_bytes": source})
    if ram_bytes is None:
        if name != HOST:
            raise TargetError(f"{name} is no known device: say how much RAM it has with --ram-mb")
        ram_bytes, source = _own_ram_bytes(), "of this machine"
    return Target(
        name=name,
        title="this machine" if name == HOST else name,
        chip=chip,
        clock_mhz=None,
        runtime="",
        threads=1,
        ram_bytes=ram_bytes,
        flash_bytes=None,
        code_bytes=RUNTIME_CODE_BYTES,
        operator_bytes=OPERATOR_BYTES,
        runtime_ram_bytes=RUNTIME_RAM_BYTES,
        power_mw=None,
        measured=True,
        rates={},
        sources={"ram_bytes": source},
    )


def _own_ram_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def read_result(path: Path) -> dict[str, Any]:
    """The JSON that the program of a bundle wrote; TargetError when it cannot be read."""
    try:
        return read_json(path)
    except RunError as error:
        raise TargetError(f"{error}; give the result.json that board.py wrote") from None


def measured_rates(samples: Sequence[Sample]) -> Rates:
    """Rates from nothing but measurements; the layout, too, is the one that fits best."""
    layouts = [
        replace(
            ASSUMED,
            channel_block=block,
            channel_multiple=multiple,
            rest_alone=rest_alone,
            cache_bytes=cache_bytes,
        )
        for block, (multiple, rest_alone), cache_bytes in product(BLOCKS, MULTIPLES, CACHES)
    ]
    fits = [fit_rates(samples, layout, spread=SPREAD) for layout in layouts]
    best = min(range(len(fits)), key=lambda index: fits[index][1])
    ratios = held_out_ratios(samples, layouts[best], spread=SPREAD, folds=FOLDS)
    return replace(fits[best][0], error=error_band([*ratios.values()]))


def micro_samples(precision: Precision, latencies: Mapping[str, float]) -> list[Sample]:
    """The micro-benchmarks of a precision, given the latency in ms of each by its file's name."""
    models = micro_models()
    return [
        Sample(
            name=micro.name,
            graph=read_graph(models[file_name(micro, precision)]),
            latency_ms=latencies[file_name(micro, precision)],
            network=micro.kind == NETWORK,
        )
        for micro in micro_set()
    ]


def _measured(precision: Precision, latencies: Mapping[str, float], source: str) -> bool:
    """Whether all micro-benchmarks of a precision are there; TargetError where some are."""
    wanted = [file_name(micro, precision) for micro in micro_set()]
    missing = [name for name in wanted if name not in latencies]
    if missing and len(missing) < len(wanted):
        raise TargetError(
            f"{source}: {len(missing)} of {len(wanted)} {precision} micro-benchmarks are missing, "
            f"such as {missing[0]}; bundle and measure again, with one version of sdedge"
        )
    return not missing


def _checked(result: Mapping[str, Any], source: str) -> _Result:
    """The result, once it is fit for use."""
    if result.get("format") != FORMAT:
        raise TargetError(
            f"{source}: this is no result of this sdedge's board.py "
            f"(format {short(result.get('format'))}, not {FORMAT}); make a bundle with "
            "`sdedge bundle`, and run its board.py on the board"
        )
    if result.get("emulated") is not False:
        raise TargetError(
            f"{source}: measured on an emulated processor, whose time is not a device's; run the "
            "bundle on the device"
        )
    checked = to_record(result, _Result, source=source, error=TargetError)
    for model in checked.models:
        if not model.outputs_match:
            raise TargetError(
                f"{source}: the outputs of {quoted(model.file)} did not match, so its speed says "
                "nothing; see what board.py printed"
            )
    return checked
