"""The lock, the floors of pyproject.toml, and what `sdedge doctor` says of versions outside."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sdedge import dependencies
from sdedge.environment import diagnose

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for line in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]


def _pins() -> dict[str, Version]:
    lines = dependencies.LOCK.read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins.items()}


def _installed_closure(requirements: list[Requirement]) -> Iterator[str]:
    """The names of everything that these need here."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), extra
            if key in seen:
                continue
            seen.add(key)
            for line in metadata.requires(requirement.name) or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return iter({name for name, _ in seen})


def _needed_here(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def _at_the_lock() -> bool:
    return dependencies.installed("torch") == str(dependencies.locked("torch"))


def test_the_lock_pins_everything_that_is_needed() -> None:
    if not _at_the_lock():
        pytest.skip("other versions, with other needs, than those of requirements.lock")
    needed = _installed_closure([r for r in (*DECLARED, *DEVELOPMENT) if _needed_here(r)])
    assert set(needed) - set(_pins()) == set()


@pytest.mark.parametrize("requirement", [*DECLARED, *DEVELOPMENT], ids=lambda r: r.name)
def test_the_lock_is_within_the_declared_ranges(requirement: Requirement) -> None:
    assert _pins()[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda r: r.name)
def test_the_tested_range_runs_from_the_declared_floor_to_the_lock(
    requirement: Requirement,
) -> None:
    tested = dependencies.tested(requirement.name)
    assert requirement.specifier == f">={tested.lowest}"
    assert tested.highest == _pins()[canonicalize_name(requirement.name)]


def test_constraints_of_the_floor_are_the_declared_lower_bounds() -> None:
    script = [sys.executable, ROOT / "tools" / "floor.py"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    floors = {(r := Requirement(line)).name: r for line in done.stdout.splitlines()}
    assert set(floors) == {r.name for r in (*DECLARED, *DEVELOPMENT)} | {"setuptools"}
    for declared in (*DECLARED, *DEVELOPMENT):
        assert str(floors[declared.name].specifier) == str(declared.specifier).replace(">=", "==")
        assert floors[declared.name].marker == declared.marker


@pytest.mark.parametrize(
    ("version", "deviation"),
    [
        ("2.10.9", "older than 2.11, the oldest version tested"),
        ("2.11", ""),
        ("2.11.0+cpu", ""),
        ("2.14.1+cu130", ""),
        ("2.14.2", "newer than 2.14.1, the newest version tested"),
        ("2.15.0a0+git1234", "newer than 2.14.1, the newest version tested"),
    ],
)
def test_deviation(version: str, deviation: str) -> None:
    tested = dependencies.VersionRange(Version("2.11"), Version("2.14.1"))
    assert tested.deviation(version) == deviation


@pytest.mark.parametrize("package", ["torch", "torchvision", "triton", "numpy", "onnx"])
def test_doctor_names_versions_outside_what_was_tested(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = dependencies.installed
    for version, said in (("99.1", "newer than"), ("0.1", "older than")):
        monkeypatch.setattr(
            dependencies, "installed", lambda p, v=version: v if p == package else installed(p)
        )
        finding = {finding.subject: finding for finding in diagnose(tmp_path)}[package]
        assert finding.status == "limited"
        assert re.search(rf"^{version}, {said} \S+, the \w+ version tested$", finding.detail)


def test_doctor_has_nothing_to_say_of_tested_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        dependencies, "installed", lambda package: str(dependencies.locked(package))
    )
    packages = {requirement.name for requirement in DECLARED}
    findings = [finding for finding in diagnose(tmp_path) if finding.subject in packages]
    assert len(findings) == 7
    assert {finding.status for finding in findings} == {"ok"}
