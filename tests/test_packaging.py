"""What is installed is what is in the tree, and all of it type-checks."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sdedge import versions

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


@pytest.mark.slow
def test_mypy_strict(tmp_path: Path) -> None:
    for package in ("mypy", "torch", "numpy", "onnx", "typer", "rich", "msgspec"):
        if versions.installed(package) != str(versions.locked(package)):
            pytest.skip(
                f"judged with the types of {package} {versions.locked(package)}, the lock's"
            )
    package = tmp_path / "sdedge"
    package.mkdir()
    for entry in (ROOT / "sdedge").iterdir():
        (package / entry.name).symlink_to(entry)
    for folder in ("kernels", "cli"):
        (package / folder).symlink_to(ROOT / folder)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", "sdedge"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
