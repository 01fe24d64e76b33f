"""The profile of a device from measurements on it, or of this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.deploy.board import bundle
from sdedge.deploy.board.calibrate import calibrate, count_unsettled, read_result
from sdedge.deploy.targets.target import HOST, Target, check_name, save_target
from sdedge.errors import ConfigError
from sdedge.escape import quoted
from sdedge.events import Notice, Reporter, silent

MAX_RAM_MB = 2**24  # 16 TB


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """A profile, and how many of the micro-benchmarks that it is made of did not settle."""

    target: Target
    path: Path
    on_this_machine: bool  # measured here, not read from the result of a board
    measurements: int
    unsettled: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.target.name,
            "path": str(self.path),
            **self.target.to_dict(),
            "measurements": self.measurements,
            "unsettled": self.unsettled,
        }


def calibrate_target(
    name: str,
    result: str | Path | None = None,
    *,
    threads: int | None = None,
    ram_mb: int | None = None,
    reporter: Reporter = silent,
) -> CalibrationResult:
    """Make the profile `name` from the result.json that board.py wrote on a device, and keep it.

    Without a `result`, `name` is "host" and this machine is measured, on `threads` threads (1).
    `ram_mb` is the RAM of a device that has no profile yet, in MiB. The profile goes into the
    user's folder, before a shipped one of the same name. Raises ConfigError for settings that are
    out of range or contradict each other, TargetError for a damaged result, and BenchError where
    measuring fails.
    """
    check_name(name)
    if ram_mb is not None and not 1 <= ram_mb <= MAX_RAM_MB:
        raise ConfigError(
            f"--ram-mb is {quoted(ram_mb)}; it must be at least 1 and at most {MAX_RAM_MB:,}"
        )
    if result is None:
        if name != HOST:
            raise ConfigError(
                f"no result to make {name} of: give the result.json that board.py wrote on it "
                "(only host is measured here)"
            )
        reporter(Notice("measuring this machine for a few minutes: leave it idle"))
        measured = bundle.measure_host({}, 1 if threads is None else threads)
        source = "this machine"
    elif threads is not None:
        raise ConfigError(
            f"--threads {threads} is for measuring this machine; leave it out, as {result} has "
            "been measured with its own"
        )
    else:
        measured, source = read_result(Path(result)), str(result)
    target = calibrate(name, measured, source=source, ram_bytes=ram_mb and ram_mb * 2**20)
    return CalibrationResult(
        target=target,
        path=save_target(target),
        on_this_machine=result is None,
        measurements=len(measured["micro"]),
        unsettled=count_unsettled(measured),
    )
