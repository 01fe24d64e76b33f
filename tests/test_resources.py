"""Shares of a container in processors and memory, from files such as the kernel writes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sdedge import resources
from sdedge.cli import main, terminal

GIB = 2**30
Tree = Callable[[str, dict[str, str]], None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A machine of eight processors and 64 GiB, its groups and the files of them."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    monkeypatch.setattr(resources, "_PROC", proc)
    monkeypatch.setattr(resources, "_CGROUP", cgroup)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def build(groups: str, files: dict[str, str]) -> None:
        (proc / "self").mkdir(parents=True)
        (proc / "self" / "cgroup").write_text(groups)
        available = f"MemAvailable: {64 * 2**20} kB"
        (proc / "meminfo").write_text(f"MemFree:  10 kB\n{available}\nSwapFree:  0 kB\n")
        for name, text in files.items():
            (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroup / name).write_text(text)

    return build


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        pytest.param("0::/\n", {}, 8, id="no group"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, 8, id="v2, no quota"),
        pytest.param("0::/\n", {"cpu.max": "200000 100000\n"}, 2, id="v2"),
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 2, id="v2, rounded up"),
        pytest.param("0::/\n", {"cpu.max": "10000 100000\n"}, 1, id="v2, a tenth"),
        pytest.param("0::/\n", {"cpu.max": "3200000 100000\n"}, 8, id="v2, more than there are"),
        pytest.param(
            "0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3, id="above"
        ),
        pytest.param(
            "0::/../seen/outside\n", {"cpu.max": "100000 50000"}, 2, id="path of the host"
        ),
        pytest.param(
            "4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n",
            {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            4,
            id="v1",
        ),
        pytest.param(
            "4:cpu,cpuacct:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
            id="v1, no quota",
        ),
    ],
)
def test_cpus_are_those_of_the_smallest_quota(
    tree: Tree, groups: str, files: dict[str, str], cpus: int
) -> None:
    tree(groups, files)
    assert resources.usable_cpus() == cpus


def test_affinity_is_a_limit_as_well(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("0::/\n", {"cpu.max": "400000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert resources.usable_cpus() == 1


@pytest.mark.parametrize(
    ("groups", "files", "gibibytes"),
    [
        pytest.param("0::/\n", {"memory.max": "max"}, 64, id="no limit"),
        pytest.param(
            "0::/\n",
            {"memory.max": str(4 * GIB), "memory.stat": f"anon {GIB}\nfile {2 * GIB}\n"},
            3,
            id="v2, cached files do not count",
        ),
        pytest.param(
            "5:memory:/job\n",
            {
                "memory/job/memory.limit_in_bytes": str(8 * GIB),
                "memory/job/memory.stat": f"rss {GIB}\ntotal_rss {2 * GIB}\n",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            6,
            id="v1",
        ),
        pytest.param(
            "0::/\n", {"memory.max": "4096", "memory.stat": f"anon {GIB}"}, 0, id="overdrawn"
        ),
    ],
)
def test_memory_is_what_the_closest_limit_leaves(
    tree: Tree, groups: str, files: dict[str, str], gibibytes: int
) -> None:
    tree(groups, files)
    assert resources.available_memory_bytes() == gibibytes * GIB


def test_without_proc_nothing_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    assert resources.cpu_quota() is None
    assert resources.available_memory_bytes() is None


def test_the_command_holds_openmp_to_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "run", lambda app: None)
    monkeypatch.setattr(main, "usable_cpus", lambda: 3)
    for quota, chosen, threads in ((3, None, "3"), (3, "2", "2"), (None, None, None)):
        monkeypatch.setenv("OMP_NUM_THREADS", chosen or "")
        if chosen is None:
            monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr(main, "cpu_quota", lambda quota=quota: quota)
        main.main()
        assert os.environ.get("OMP_NUM_THREADS") == threads
