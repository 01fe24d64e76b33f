"""The published counts are gates: a wrong layer anywhere in the space moves them."""

import json
from pathlib import Path

import pytest

from sdedge.genotype import published
from sdedge.space.counting import Counts, count_genotype

EXPECTED = json.loads(Path(__file__).with_name("published_counts.json").read_text())


def test_every_published_genotype_has_its_counts_checked() -> None:
    assert set(EXPECTED) == set(published())


@pytest.mark.parametrize("name", EXPECTED)
def test_counts_equal_the_published_ones(name: str) -> None:
    genotype, expected = published()[name].genotype, EXPECTED[name]
    cifar10 = count_genotype(genotype)
    assert cifar10 == Counts(expected["params_c10"], expected["macs_c10"])
    assert count_genotype(genotype, classes=100).params == expected["params_c100"]
    imagenet = count_genotype(
        genotype, channels=48, cells=14, classes=1000, stem="imagenet", image_size=224
    )
    assert imagenet == Counts(expected["params_imagenet"], expected["macs_imagenet"])
