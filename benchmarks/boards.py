"""Rates of the boards from published latencies, and how far such rates mispredict.

    python benchmarks/boards.py [--update]

Each anchor is predicted by rates fitted to the other anchors of its device (leave one out). With
--update, rates and error bands in sdedge/deploy/targets/profiles/ are set to what follows from all.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from reference_networks import NETWORKS

from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.targets.band import ErrorBand, error_band
from sdedge.deploy.targets.rates import Sample, fit_rates, held_out_ratios
from sdedge.deploy.targets.target import KINDS, MEMORY, Rates
from sdedge.files import write_json

ANCHORS = Path(__file__).with_name("anchors.json")
TARGETS = Path(__file__).parents[1] / "sdedge" / "deploy" / "targets" / "profiles"
# How far rates may move against each other: freely only where there are anchors enough.
FREE, BOUND, ENOUGH = 0.8, 0.3, 6
_UNKNOWN = ErrorBand(low=0.5, high=2.0, coverage=0.9, networks=1)


def _assumed(
    *, run: float, node: float, pixel: float, dense: float, pointwise: float, depthwise: float,
    linear: float, near: float, far: float, block: int = 1, cache_bytes: int | None = None,
) -> Rates:  # fmt: skip
    return Rates(
        overhead_us={"run": run, "node": node, "pixel": pixel},
        gmacs_per_s={
            "dense": dense,
            "pointwise": pointwise,
            "depthwise": depthwise,
            "linear": linear,
        },
        gbytes_per_s={**dict.fromkeys(KINDS, near), MEMORY: far},
        channel_block=block,
        channel_multiple=1,
        rest_alone=False,
        cache_bytes=cache_bytes,
        error=_UNKNOWN,
    )


# Starting points; the fit moves all rates of a device together as far as it takes, so that only
# their proportions matter. ncnn: Winograd for 3x3, maps in blocks of 4 (NEON), a quarter of a
# shared L2 of 1 MiB for each of 4 threads, memory as in sbc-bench's memcpy (2.5 GB/s on a
# Raspberry Pi 4).
NCNN = _assumed(
    run=20, node=25, pixel=0.001, dense=15, pointwise=10, depthwise=4, linear=2, near=10, far=2.5,
    block=4, cache_bytes=2**18,
)  # fmt: skip
NCNN_INT8 = replace(NCNN, gmacs_per_s={"dense": 20, "pointwise": 18, "depthwise": 6, "linear": 3})
# A launch on a GPU goes through its driver.
NCNN_VULKAN = replace(NCNN, overhead_us={**NCNN.overhead_us, "run": 200, "node": 50})
MICROCONTROLLER = _assumed(
    run=50, node=5, pixel=0.05, dense=0.4, pointwise=0.33, depthwise=0.12, linear=0.12, near=0.2,
    far=0.2,
)  # fmt: skip
# Depthwise kernels have caught up: from X-CUBE-AI 7.3 to 9.0 visual wake words became twice as fast
# on one chip (50.4 to 23.8 ms on an STM32H7A3), ResNet-8 1.3 times (53.8 to 40.8 ms).
OPTIMISED = replace(MICROCONTROLLER, gmacs_per_s={**MICROCONTROLLER.gmacs_per_s, "depthwise": 0.3})
# Ticks of ESP-NN's kernels on an ESP32-S3 at 240 MHz, espressif/esp-nn README.md.
ESP_NN = _assumed(
    run=50, node=10, pixel=0.2, dense=0.1, pointwise=0.2, depthwise=0.05, linear=0.04, near=0.03,
    far=0.03,
)  # fmt: skip


@dataclass(frozen=True)
class Board:
    """What a profile's rates start from, and whose held-out anchors show its error.

    `borrowed` where its anchors are of another board.
    """

    assumed: dict[Precision, Rates]
    family: str
    judged_by: tuple[str, ...]
    borrowed: bool = False


_NCNN_BOARD = Board({"fp32": NCNN, "int8": NCNN_INT8}, "ncnn", ("ncnn",))
# Those of TinyEngine are of networks that are much alike, so the others' count for its boards too.
_TINYENGINE_BOARD = Board({"int8": MICROCONTROLLER}, "TinyEngine", ("TinyEngine", "MLPerf Tiny"))
_MLPERF_BOARD = Board({"int8": OPTIMISED}, "MLPerf Tiny", ("MLPerf Tiny",))
BOARDS = {
    "pi4": _NCNN_BOARD,
    "pi5": _NCNN_BOARD,
    "pizero2w": _NCNN_BOARD,
    "jetson-nano-cpu": _NCNN_BOARD,
    "jetson-nano-gpu": replace(_NCNN_BOARD, assumed={"fp32": NCNN_VULKAN}),
    "imx8mp": replace(_NCNN_BOARD, borrowed=True),
    "watch": _NCNN_BOARD,
    "stm32h743": _TINYENGINE_BOARD,
    "stm32h743-tflm": _TINYENGINE_BOARD,
    "stm32f746": _MLPERF_BOARD,
    "cortex-m4": _MLPERF_BOARD,
    "cortex-m4-tflm": replace(_MLPERF_BOARD, assumed={"int8": MICROCONTROLLER}),
    "esp32s3": replace(_MLPERF_BOARD, assumed={"int8": ESP_NN}, borrowed=True),
}


@cache
def anchors() -> tuple[dict[str, Any], ...]:
    """The published latencies."""
    return tuple(json.loads(ANCHORS.read_text(encoding="utf-8"))["anchors"])


def samples(target: str, precision: Precision) -> list[Sample]:
    """The anchors of a target."""
    return [
        Sample(
            name=anchor["network"],
            graph=NETWORKS[anchor["network"]](precision),
            latency_ms=anchor["latency_ms"],
        )
        for anchor in anchors()
        if (anchor["target"], anchor["precision"]) == (target, precision)
    ]


@cache
def leave_one_out() -> tuple[dict[str, Any], ...]:
    """Every anchor with its prediction by rates that never saw it."""
    return tuple(_rows())


def _rows() -> Iterator[dict[str, Any]]:
    for target, board in BOARDS.items():
        for precision, assumed in board.assumed.items():
            known = samples(target, precision)
            if len(known) < 2:
                continue
            ratios = held_out_ratios(known, assumed, spread=_spread(known))
            for sample in known:
                yield {
                    "target": target,
                    "family": board.family,
                    "network": sample.name,
                    "precision": precision,
                    "measured_ms": sample.latency_ms,
                    "predicted_ms": sample.latency_ms / ratios[sample.name],
                }


@cache
def band(families: tuple[str, ...], precision: Precision) -> ErrorBand:
    """How far predictions of held-out anchors were off, over the boards of these families."""
    return error_band(
        [
            row["measured_ms"] / row["predicted_ms"]
            for row in leave_one_out()
            if row["family"] in families and row["precision"] == precision
        ]
    )


def bands() -> list[tuple[tuple[str, ...], Precision]]:
    """Every error band that a profile has."""
    return [*dict.fromkeys((b.judged_by, p) for b in BOARDS.values() for p in b.assumed)]


def board_rates(target: str) -> dict[Precision, Rates]:
    """The rates that follow from all anchors of a target, each precision with its error band."""
    board = BOARDS[target]
    rates = {}
    for precision, assumed in board.assumed.items():
        error = band(board.judged_by, precision)
        if board.borrowed:  # nothing was measured on the board itself: taken to be twice as far off
            error = replace(error, low=error.low**2, high=error.high**2)
        rates[precision] = replace(_fitted(samples(target, precision), assumed), error=error)
    return rates


def _fitted(known: list[Sample], assumed: Rates) -> Rates:
    return fit_rates(known, assumed, spread=_spread(known))[0]


def _spread(known: list[Sample]) -> float:
    return FREE if len(known) >= ENOUGH else BOUND


def rounded(value: object) -> Any:
    """Floats to four digits: they are not more certain."""
    if isinstance(value, float):
        return 0.0 if value == 0 else round(value, 3 - math.floor(math.log10(abs(value))))
    if isinstance(value, dict):
        return {key: rounded(member) for key, member in value.items()}
    return value


def update(folder: Path = TARGETS) -> None:
    """Set the rates in the shipped profiles."""
    for target in BOARDS:
        path = folder / f"{target}.json"
        profile = json.loads(path.read_text(encoding="utf-8"))
        rates = {p: rounded(asdict(r)) for p, r in board_rates(target).items()}
        write_json(path, {**profile, "rates": rates})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Leave-one-out over the published latencies.")
    parser.add_argument("--update", action="store_true", help="set the rates of the profiles")
    options = parser.parse_args(arguments)
    for row in leave_one_out():
        ratio = row["predicted_ms"] / row["measured_ms"]
        print(
            f"{row['target']:16} {row['network']:20} {row['precision']}  measured "
            f"{row['measured_ms']:8.2f} ms, predicted {row['predicted_ms']:8.2f} ms, "
            f"{ratio - 1:+.0%}"
        )
    for families, precision in bands():
        print(" and ".join(families), precision, band(families, precision))
    if options.update:
        update()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
