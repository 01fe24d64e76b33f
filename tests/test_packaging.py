"""What is installed is what is in the tree, and all of it type-checks."""

import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path

import pytest

from sdedge import dependencies
from sdedge.version import __version__

ROOT = Path(__file__).parents[1]
# Folder in the tree -> the package it installs as.
ROOMS = {"sdedge": "sdedge", "kernels": "sdedge.kernels", "cli": "sdedge.cli"}


def test_every_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join((package, *file.parent.relative_to(ROOT / folder).parts))
        for folder, package in ROOMS.items()
        for file in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(declared["packages"]) == sorted(found)


def test_the_wheel_has_the_licence_and_the_version_of_the_package(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", *ROOMS):
        (tmp_path / name).symlink_to(ROOT / name)
    build = "import setuptools.build_meta as b; b.prepare_metadata_for_build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (info,) = tmp_path.glob("sdedge-*.dist-info")
    metadata = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_mypy_strict() -> None:
    for package in ("mypy", "torch", "numpy", "onnx", "typer", "rich", "msgspec"):
        if dependencies.installed(package) != str(dependencies.locked(package)):
            pytest.skip(
                f"judged with the types of {package} {dependencies.locked(package)}, the lock's"
            )
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "typecheck.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
