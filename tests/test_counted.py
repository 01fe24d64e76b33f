"""Numbers with their nouns."""

import pytest

from sdedge.counted import counted


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1000, "1,000 epochs")],
)
def test_a_noun_agrees_with_its_number(count: int, said: str) -> None:
    assert counted(count, "epoch") == said
