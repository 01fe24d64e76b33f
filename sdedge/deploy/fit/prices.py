"""What operations cost in a network that may meet a budget, for a search to pay."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sdedge.deploy.fit.requirements import AVERAGE_CELL, CELLS, CHANNELS, Requirements
from sdedge.genotype import Genotype, published
from sdedge.nas.budget import PLACES, Costs, Place, places
from sdedge.operations import DARTS_OPERATIONS, get_operation
from sdedge.space.darts.cell import random_genotype

_SAMPLES = 40  # random cells that the 19 prices are fitted to
# An operation and where it stands; two that cost nothing to speak of are the zero of the prices.
_PRICED: list[tuple[Place, str]] = [
    (place, operation)
    for place in PLACES
    for operation in DARTS_OPERATIONS[1:]
    if place == "reduce_strided" or not get_operation(operation).is_skip
]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Requirements that can be met, and what operations cost in a network that may meet them."""

    requirements: Requirements
    reference: tuple[int, int]  # channels and cells of that network
    costs: Mapping[str, Costs]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        channels, cells = self.reference
        return {
            **self.requirements.to_dict(),
            "reference": {"channels": channels, "cells": cells},
            "costs": {name: asdict(costs) for name, costs in self.costs.items()},
        }


def make_plan(requirements: Requirements, cells: int) -> Plan:
    """Prices for a search with a supernet of `cells` cells; ConfigError if nothing can fit.

    They are of a network as wide as one of an average cell can be and fit, so a search pays when
    its cell is more expensive than that; as deep as the supernet, or of least depth where that lets
    it be so much wider that it computes more.
    """
    requirements.check_possible()
    average = published()[AVERAGE_CELL].genotype
    shallow = requirements.widest(average, CELLS[0], CHANNELS[-1])
    deep = shallow and requirements.widest(average, cells, shallow.channels + CHANNELS.step)
    sizes = [size for size in (shallow, deep) if size]
    size = max(sizes, key=lambda size: size.macs, default=None)
    reference = (size.channels, size.cells) if size else (CHANNELS[0], CELLS[0])
    costs = _fit_costs(requirements, *reference)
    return Plan(requirements=requirements, reference=reference, costs=costs)


def _fit_costs(requirements: Requirements, channels: int, cells: int) -> dict[str, Costs]:
    """Prices of operations, by least squares over random cells at this size.

    Exact for what adds up, such as parameters; for the peak of RAM, which does not, the best that
    a sum can do.
    """
    rng = random.Random(0)
    genotypes = [random_genotype(rng) for _ in range(_SAMPLES)]
    fits = [requirements.measure(genotype, channels, cells).fit for genotype in genotypes]
    features = np.array([[1, *_counts(genotype)] for genotype in genotypes], np.float64)
    figures = np.array([[check.found for check in fit.checks] for fit in fits], np.float64)
    solution = np.linalg.lstsq(features, figures, rcond=None)[0]  # (1 + prices, checks)
    costs = {}
    for i, check in enumerate(fits[0].checks):
        fixed, *prices = solution[:, i].tolist()
        tables = {place: dict.fromkeys(DARTS_OPERATIONS[1:], 0.0) for place in PLACES}
        for (place, operation), price in zip(_PRICED, prices, strict=True):
            tables[place][operation] = price
        error = float(np.median(np.abs(features @ solution[:, i] / figures[:, i] - 1)))
        priced = Costs(limit=check.allowed, fixed=fixed, prices=tables, error=error)
        # Of what the device has, only what a search could use up.
        if check.limit in requirements.limits.active or priced.maximum > check.allowed:
            costs[check.limit] = priced
    return costs


def _counts(genotype: Genotype) -> list[int]:
    """How often a genotype has each of the priced operations."""
    held = places(genotype)
    return [held.count(priced) for priced in _PRICED]
