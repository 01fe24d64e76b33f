"""How far predictions of latency were off, and what interval follows for the next network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Annotated

import numpy as np
from msgspec import Meta

from sdedge.bounds import Count, Quantity

COVERAGE = 0.9  # of the bands in profiles


@dataclass(frozen=True, kw_only=True)
class ErrorBand:
    """What measured latency / predicted latency was for networks that the rates never saw."""

    low: Quantity
    high: Quantity
    coverage: Annotated[float, Meta(gt=0, lt=1)]
    networks: Count

    def __post_init__(self) -> None:
        if not self.low <= 1 <= self.high:
            raise ValueError(f"low and high are {self.low:g} and {self.high:g}; 1 lies between")

    def at(self, coverage: float) -> "ErrorBand":
        """The band that holds another share of networks, by the same distribution."""
        if coverage == self.coverage:
            return self
        freedom = max(self.networks - 1, 1)
        scale = _student(freedom, coverage) / _student(freedom, self.coverage)
        middle = (math.log(self.low) + math.log(self.high)) / 2
        reach = scale * (math.log(self.high) - math.log(self.low)) / 2
        low, high = math.exp(middle - reach), math.exp(middle + reach)
        return replace(self, low=min(low, 1.0), high=max(high, 1.0), coverage=coverage)


def error_band(ratios: Sequence[float]) -> ErrorBand:
    """Where the ratio of the next network lies with 90%: Student's interval of their logarithms."""
    logs = np.log(ratios)
    count = len(logs)
    reach = _student(count - 1, COVERAGE) * logs.std(ddof=1) * math.sqrt(1 + 1 / count)
    low, high = math.exp(logs.mean() - reach), math.exp(logs.mean() + reach)
    return ErrorBand(low=min(low, 1.0), high=max(high, 1.0), coverage=COVERAGE, networks=count)


def _student(freedom: int, coverage: float) -> float:
    """Half the width of Student's interval of that coverage (Cornish and Fisher, 1938)."""
    z = NormalDist().inv_cdf((1 + coverage) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2
