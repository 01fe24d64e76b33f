"""Print the lower bounds of pyproject.toml as constraints that pip reads: `torch==2.11`."""

import re
import tomllib
from pathlib import Path

BOUND = re.compile(r"([\w.-]+)>=([\w.]+)(; .+)?")


def floors(pyproject: str) -> list[str]:
    """One constraint for each requirement, those of the build and of development too.

    Raises ValueError for a requirement that is anything but one lower bound.
    """
    tables = tomllib.loads(pyproject)
    project = tables["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    constraints = []
    for requirement in (*tables["build-system"]["requires"], *project["dependencies"], *extras):
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"pyproject.toml: {requirement!r} is not of the form name>=version")
        name, version, marker = bound.groups(default="")
        constraints.append(f"{name}=={version}{marker}")
    return constraints


if __name__ == "__main__":
    print("\n".join(floors((Path(__file__).parents[1] / "pyproject.toml").read_text())))
