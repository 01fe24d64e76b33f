"""Type-check sdedge as it installs: mypy in strict mode over all packages, with a cache.

`kernels/` and `cli/` install as `sdedge.kernels` and `sdedge.cli`, where mypy cannot follow an
editable install; it reads a tree of links instead. Arguments are passed on to mypy.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".mypy_cache"


def main() -> int:
    """Link the packages together, run mypy on them, and return its exit status."""
    package = CACHE / "tree" / "sdedge"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for source in (*(ROOT / "sdedge").iterdir(), ROOT / "kernels", ROOT / "cli"):
        (package / source.name).symlink_to(source)
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
    command += ["--cache-dir", CACHE, "-p", "sdedge", *sys.argv[1:]]
    return subprocess.run(command, cwd=package.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
