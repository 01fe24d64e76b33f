"""The chain from Python: docs/examples/chain.py as it stands, with a demo that takes seconds."""

import json
import runpy
from pathlib import Path

import pytest

from sdedge.config import presets

CHAIN = Path(__file__).parents[2] / "docs" / "examples" / "chain.py"
BRIEF = {"channels": 4, "epochs": 1, "epoch_images": 32, "batch_size": 16}


@pytest.mark.slow
def test_the_example_runs_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, images in (("SEARCH", {"valid_images": 32}), ("TRAIN", {})):
        known = getattr(presets, name)
        monkeypatch.setattr(presets, name, {**known, "demo": {**known["demo"], **BRIEF, **images}})
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(CHAIN))
    assert capfd.readouterr() == ("", "")
    run = names["network"].run
    summary = json.loads((run / "summary.json").read_text())
    assert 0 <= summary["accuracy"] <= 1
    assert set(summary["predicted_ms"]) == {"pi4 fp32", "pi4 int8", "stm32f746 int8"}
    assert (run / "model.int8.onnx").is_file()
    assert "Not measured yet" not in (run / "model-card.md").read_text(encoding="utf-8")


def test_the_example_is_short() -> None:
    lines = CHAIN.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith('"""')]) <= 15
