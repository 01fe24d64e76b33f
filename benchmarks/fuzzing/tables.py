"""Benchmark tables in CSV."""

import random
from pathlib import Path

from fuzzing.harness import Target
from sdedge.errors import DataError
from sdedge.space.nasbench201.benchmark_table import CSV_COLUMNS, DATASETS, read_benchmark_table
from sdedge.space.nasbench201.cell import random_cell


def target(folder: Path) -> Target:
    """Reading a table, and asking it what it is for."""
    path = folder / "table.csv"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        table = read_benchmark_table(path)
        for dataset in DATASETS:
            for cell in table.best(dataset):
                table.query(cell)

    return Target(tuple(_originals()), read, (DataError,))


def _originals() -> list[bytes]:
    rng = random.Random(0)
    rows = [f"{random_cell(rng).to_arch()},{rng.uniform(10, 95):.2f},50.5,30" for _ in range(20)]
    header = ",".join(CSV_COLUMNS)
    more = [f'"{row}",x'.replace(",", '","', 3) for row in rows]
    return [
        "\n".join([header, *rows]).encode(),
        "\r\n".join([header, *rows, "", ",,,"]).encode("utf-8-sig"),
        "\n".join([f"{header},note", *more]).encode(),
    ]
