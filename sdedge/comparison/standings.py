"""What a benchmark table says of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.comparison.method import RANDOM, Method
from sdedge.comparison.trial import trial_dir
from sdedge.nas.lookup import look_up, look_up_epochs
from sdedge.nas.record import SearchRecord
from sdedge.run import RunDir
from sdedge.space.nasbench201.benchmark_table import DATASETS, BenchmarkTable
from sdedge.space.nasbench201.cell import Nb201Cell


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The table's own figures, and the standings of all epochs."""

    best: dict[str, float]  # per cent, by data set
    mean: dict[str, float]
    epochs: dict[str, list[list[dict[str, Any]]]]  # method -> for each seed
    unknown: int  # trials whose cell the table does not hold

    @property
    def lines(self) -> list[str]:
        """For people."""
        figures = "; ".join(
            f"{name}: the best cell {best:.2f}, all cells on average {self.mean[name]:.2f}"
            for name, best in self.best.items()
        )
        missing = f"the table does not hold the cells of {self.unknown} trials"
        return [figures, *([missing] if self.unknown else [])]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"best": self.best, "mean": self.mean}


def look_up_trials(
    folder: Path, rows: Sequence[dict[str, Any]], table: BenchmarkTable
) -> Reference:
    """Add to each row where its cell stands, and give what the cell of each epoch reaches.

    An epoch's list ends with the cell that was found, also where the search went back for it.
    Cells that the table does not hold are left out.
    """
    epochs: dict[str, list[list[dict[str, Any]]]] = {}
    for row in rows:
        cell = Nb201Cell.from_dict(row["genotype"])
        if cell in table:
            row["standings"] = look_up(cell, table)["standings"]
        if row["method"] == RANDOM:
            continue
        run = RunDir(trial_dir(folder, Method(row["method"]), row["seed"]))
        found = look_up_epochs(run.read_metrics("search", SearchRecord), table)
        for entry in found:
            if entry["epoch"] == row["best_epoch"]:
                row["cifar10_at_best_epoch"] = entry["standings"]["cifar10"]["accuracy"]
        if row["epoch"] < row["epochs"] and cell in table:
            found.append({"epoch": row["epochs"] + 1, **look_up(cell, table)})
        if found:
            epochs.setdefault(row["method"], []).append(found)
    return Reference(
        best={name: table.highest(name) for name in DATASETS},
        mean={name: table.mean(name) for name in DATASETS},
        epochs=epochs,
        unknown=sum("standings" not in row for row in rows),
    )
