"""The packages that sdedge depends on: which versions are installed, locked and tested.

`make test-floor` runs the suite with the lower bounds of pyproject.toml, `make test` with the exact
versions of `requirements.lock`; both ends are read from there, and stated nowhere else.
"""

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

LOCK = Path(__file__).parent / "requirements.lock"


@dataclass(frozen=True)
class VersionRange:
    """The versions of one package from the lowest to the highest that was tested."""

    lowest: Version
    highest: Version

    def deviation(self, version: str) -> str:
        """How `version` lies outside: "newer than ...", "older than ..."; empty if inside.

        A build of a release (2.14.1+cpu) counts as that release.
        """
        release = Version(Version(version).public)
        if release < self.lowest:
            return f"older than {self.lowest}, the oldest version tested"
        if release > self.highest:
            return f"newer than {self.highest}, the newest version tested"
        return ""


def installed(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def locked(package: str) -> Version:
    """The version in `requirements.lock`."""
    return _locked()[package]


def tested(package: str) -> VersionRange:
    """What was tested of a package that sdedge depends on."""
    return VersionRange(_floors()[package], locked(package))


@cache
def _locked() -> dict[str, Version]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: Version(version) for name, version in pins}


@cache
def _floors() -> dict[str, Version]:
    requirements = map(Requirement, metadata.requires("sdedge") or ())
    return {
        requirement.name: Version(bound.version)
        for requirement in requirements
        for bound in requirement.specifier
        if bound.operator == ">="
    }
