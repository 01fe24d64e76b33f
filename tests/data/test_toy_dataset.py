"""A data set of one's own, as docs/extending.md has it: opened, listed, searched and trained on."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdedge
from sdedge.data.catalog import describe_datasets, load_dataset, register_dataset

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """The names that the code of the recipe defines."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## A data set\n")[1].split("\n## ")[0]
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)), names)
    return names


def test_it_is_opened_by_its_name_and_listed(recipe: dict[str, Any], tmp_path: Path) -> None:
    with register_dataset("stripes", recipe["STRIPES"]):
        dataset = load_dataset("Stripes", tmp_path)
        assert (dataset.name, dataset.classes) == ("stripes", ("lying", "standing"))
        assert dataset.train.images.shape == (96, 16, 16, 3)
        assert np.bincount(dataset.test.labels).tolist() == [16, 16]
        assert "stripes" in [row["name"] for row in describe_datasets(tmp_path)]
    with pytest.raises(sdedge.DataError, match="neither a data set nor a folder"):
        load_dataset("stripes", tmp_path)


def test_a_name_is_taken_once(recipe: dict[str, Any]) -> None:
    with pytest.raises(sdedge.ConfigError, match="a data set shapes already"):
        register_dataset("Shapes", recipe["STRIPES"])


def test_a_network_learns_it(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with register_dataset("stripes", recipe["STRIPES"]):
        network = sdedge.train(
            "DARTS_V2",
            dataset="stripes",
            data_root=str(tmp_path / "data"),
            run=tmp_path / "run",
            preset="demo",
            channels=4,
            epochs=4,
            batch_size=16,
            augmentation="none",
        )
    assert network.test_images == 32
    assert network.test_accuracy > 0.9
    assert capsys.readouterr().out == ""
