"""The Python of the documentation runs as it stands, with the settings of `TINY` where it has none.

All blocks of a page are one program; run-directory.md reads the run that the page before it made.
"""

import inspect
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, anchors, blocks, spans

import sdedge

API = ROOT / "docs" / "python-api.md"
RUN_DIRECTORY = ROOT / "docs" / "run-directory.md"
CHAIN = ROOT / "docs" / "examples" / "chain.py"

_STEPS = {"epochs": 1, "epoch_images": 16, "batch_size": 8, "channels": 4}
TINY: dict[str, dict[str, Any]] = {
    "search": {**_STEPS, "valid_images": 16},
    "train": _STEPS,
    "compare": {**_STEPS, "valid_images": 16},
    "export": {"limit": 50},
}


def python(page: Path) -> list[str]:
    return [block.code for block in blocks(page) if block.language == "python"]


def run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, settings in TINY.items():
        function = getattr(sdedge, name)

        def tiny(
            *arguments: Any, function: Any = function, settings: Any = settings, **given: Any
        ) -> Any:
            return function(*arguments, **{**settings, **given})

        monkeypatch.setattr(sdedge, name, tiny)
    namespace: dict[str, Any] = {}
    for number, code in enumerate(python(page), 1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.slow
def test_the_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(API, monkeypatch)
    run(RUN_DIRECTORY, monkeypatch)


def test_the_chain_of_the_readme_is_the_example_that_the_tests_run() -> None:
    (code,) = python(ROOT / "README.md")
    assert code == CHAIN.read_text(encoding="utf-8")


def test_every_public_name_is_documented() -> None:
    documented = {span.removeprefix("sdedge.") for span in spans(API)}
    documented |= anchors(API)
    assert set(sdedge.__all__) - {"__version__"} <= documented


@pytest.mark.parametrize(
    "name", [n for n in sdedge.__all__ if inspect.isfunction(getattr(sdedge, n)) and n != "silent"]
)
def test_every_argument_is_documented(name: str) -> None:
    _, _, section = API.read_text(encoding="utf-8").partition(f"\n## {name}\n")
    section = section.partition("\n## ")[0]
    for argument in inspect.signature(getattr(sdedge, name)).parameters:
        assert f"`{argument}`" in section, argument
