"""What a benchmark table says of a search: where the genotype of each epoch stands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sdedge.space.nasbench201.benchmark_table import BenchmarkTable
from sdedge.space.nasbench201.cell import Nb201Cell


def look_up_epochs(
    records: Sequence[Mapping[str, Any]], table: BenchmarkTable
) -> list[dict[str, Any]]:
    """For the record of each epoch: its number, the arch string, and where that stands by data set.

    Epochs whose cell the table does not hold are left out.
    """
    cells = [
        (record["epoch"], Nb201Cell.from_dict(record["genotype"], source="metrics.jsonl"))
        for record in records
    ]
    return [{"epoch": epoch, **look_up(cell, table)} for epoch, cell in cells if cell in table]


def look_up(cell: Nb201Cell, table: BenchmarkTable) -> dict[str, Any]:
    """The arch string of a cell, and where it stands by data set; raises as `query` does."""
    standings = {name: asdict(standing) for name, standing in table.query(cell).items()}
    return {"arch": cell.to_arch(), "standings": standings}
