"""DARTS+: early stopping (Liang et al., 2019), https://arxiv.org/abs/1909.06035

The search ends when the derived normal cell has two skips (section 3.3, criterion 1), before more
of them crowd out what learns.
"""

from collections.abc import Sequence
from dataclasses import replace

from sdedge.nas.strategies.darts import DARTS
from sdedge.nas.strategy import Record

_SKIPS = 2


def at_two_skips(records: Sequence[Record]) -> int | None:
    """The present epoch once its normal cell has two skips."""
    return len(records) - 1 if records[-1]["skip_count"] >= _SKIPS else None


DARTS_PLUS = replace(
    DARTS,
    name="darts-plus",
    summary="the search ends when the normal cell has two skips",
    paper="https://arxiv.org/abs/1909.06035",
    stop=at_two_skips,
)
