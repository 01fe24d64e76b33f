"""How many processors and how much memory this process may use.

A container sees all of its machine, and is limited to a share of it by control groups: both
versions count here, as do the process's own and the groups above it.
https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def usable_cpus() -> int:
    """Logical processors that this process may keep busy: its affinity and its quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, cpu_quota() or allowed)


def cpu_quota() -> int | None:
    """The processors of the smallest quota over this process, rounded up; None without one."""
    shares = []
    for folder in _groups("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # "max 100000" without one
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # "-1" without one
            shares.append(max(1, math.ceil(int(quota) / int(period))))
    return min(shares, default=None)


def available_memory_bytes() -> int | None:
    """The most memory that this process could still get, swap included; None if unknown.

    What the system can take back at once, such as cached files, counts as available.
    """
    machine = _counts(_PROC / "meminfo")
    if "MemAvailable" not in machine:
        return None
    free = [1024 * machine["MemAvailable"]]
    for folder in _groups("memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        held = _counts(folder / "memory.stat")
        if limit.isdigit():  # "max" without one
            free.append(int(limit) - held.get("anon", held.get("total_rss", 0)))
    return max(0, min(free)) + 1024 * machine.get("SwapFree", 0)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's groups for a controller, from its own to the top."""
    for line in _read(_PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            top = _CGROUP / controller
        elif not controllers:
            top = _CGROUP
        else:
            continue
        # A container may see its own group as the top, and has no folder of the path named here.
        own = top.joinpath(*(part for part in Path(path).parts if part not in ("/", "..")))
        yield own
        yield from (parent for parent in own.parents if parent.is_relative_to(top))


def _counts(path: Path) -> dict[str, int]:
    """Lines of names and numbers, as "anon 4096" or "MemTotal:  16384 kB"."""
    return {name: int(n) for name, n in re.findall(r"^(\w+):?\s+(\d+)", _read(path), re.MULTILINE)}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):  # absent, or not for this process to read
        return ""
