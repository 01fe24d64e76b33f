"""The accuracies of NAS-Bench-201: what every cell of the space reaches, trained in full.

A table is a CSV file with the columns of `CSV_COLUMNS`, accuracies in per cent, or an official
NATS-Bench archive, read by its own package. Accuracies are those on the test images, the mean over
the benchmark's trainings of 200 epochs. Cells that compute the same are different entries: each was
trained for itself.

Dong, Liu, Musial, Gabrys: NATS-Bench, TPAMI 2021, https://arxiv.org/abs/2009.00437
"""

import csv
import importlib
import pickle
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sdedge.errors import DataError, GenotypeError
from sdedge.names import choose
from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.paths import checked_path
from sdedge.space.nasbench201.cell import Nb201Cell

# Data set -> what the official archive calls it.
DATASETS = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "imagenet16-120": "ImageNet16-120",
}
CSV_COLUMNS = ("arch", "cifar10_test", "cifar100_test", "imagenet16_120_test")

_MAX_BYTES = 64 * 2**20  # a row of each of the 15,625 cells takes 3
# A cell and its accuracies in per cent, in the order of DATASETS.
Accuracies = tuple[float, ...]


@dataclass(frozen=True)
class Standing:
    """Where a cell stands on one data set."""

    accuracy: float  # per cent
    rank: int  # 1 + how many cells are better: equals share a rank, the next is that much lower
    gap: float  # percentage points to the best cell, 0 for that one


class BenchmarkTable:
    """Accuracies by cell, and the order that they make on each data set.

    The table may hold some cells of the space only; ranks and gaps are then among those.
    Raises DataError when there is none.
    """

    def __init__(self, source: Path, accuracies: Mapping[Nb201Cell, Accuracies]) -> None:
        if not accuracies:
            raise DataError(f"{source} holds no cell")
        self.source = source
        self._accuracies = accuracies
        self._ascending = [sorted(column) for column in zip(*accuracies.values(), strict=True)]

    def __len__(self) -> int:
        return len(self._accuracies)

    def __contains__(self, cell: Nb201Cell) -> bool:
        return cell in self._accuracies

    def query(self, cell: Nb201Cell) -> dict[str, Standing]:
        """Data set -> where the cell stands; DataError when the table does not hold it."""
        if cell not in self._accuracies:
            raise DataError(
                f"{self.source} has no entry for {cell.to_arch()}; it holds {len(self):,} of "
                f"{len(NAS_BENCH_201_OPERATIONS) ** len(cell.operations):,} cells"
            )
        return {
            dataset: Standing(
                accuracy=accuracy,
                rank=1 + len(ascending) - bisect_right(ascending, accuracy),
                gap=round(ascending[-1] - accuracy, 6),  # 0.42, not 0.4200000000000017
            )
            for dataset, accuracy, ascending in zip(
                DATASETS, self._accuracies[cell], self._ascending, strict=True
            )
        }

    def highest(self, dataset: str) -> float:
        """The best accuracy in per cent; DataError for an unknown data set."""
        best: float = self._ascending[self._place(dataset)][-1]
        return best

    def mean(self, dataset: str) -> float:
        """The accuracy in per cent of a cell drawn at random, on average."""
        return fmean(self._ascending[self._place(dataset)])

    def best(self, dataset: str) -> list[Nb201Cell]:
        """The cells of rank 1, in the order of the table; DataError for an unknown data set."""
        place, highest = self._place(dataset), self.highest(dataset)
        return [cell for cell, row in self._accuracies.items() if row[place] == highest]

    def _place(self, dataset: str) -> int:
        return list(DATASETS).index(choose(dataset, DATASETS, "data set", error=DataError))


def read_benchmark_table(path: str | Path) -> BenchmarkTable:
    """Read a CSV file, or anything else as an official NATS-Bench file or folder.

    An official archive is a pickle, which can run code when it is read: take it from its authors.

    Raises:
        DataError: the table is missing or malformed, with the file and the line; or the package
            that reads it is not installed.
    """
    path = checked_path(path, error=DataError)
    if not path.exists():
        raise DataError(f"no benchmark table {path}; give a CSV file, or a NATS-Bench archive")
    entries = _csv_entries(path) if path.suffix.lower() == ".csv" else _official_entries(path)
    accuracies: dict[Nb201Cell, Accuracies] = {}
    for where, arch, values in entries:
        try:
            cell = Nb201Cell.from_arch(arch)
            row = tuple(map(float, values))
        except (GenotypeError, ValueError) as error:
            raise DataError(f"{where}: {error}") from None
        if cell in accuracies:
            raise DataError(f"{where}: {arch} is there twice")
        for dataset, value in zip(DATASETS, row, strict=True):
            if not 0 <= value <= 100:  # false for NaN as well
                raise DataError(f"{where}: {dataset} is {value}; it must be a percentage")
        accuracies[cell] = row
    return BenchmarkTable(path, accuracies)


# Where an entry stands, its arch string, and its accuracies.
_Entry = tuple[str, str, list[Any]]


def _csv_entries(path: Path) -> Iterator[_Entry]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} is over {_MAX_BYTES // 2**20} MiB; it is no table of cells")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [name for name in CSV_COLUMNS if name not in header]
            if missing:
                raise DataError(
                    f"{path}, line 1: no column {', '.join(missing)}; a table starts with "
                    f"{','.join(CSV_COLUMNS)}"
                )
            places = [header.index(name) for name in CSV_COLUMNS]
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue  # spreadsheets and editors leave blank lines
                where = f"{path}, line {reader.line_num}"
                if len(row) != len(header):
                    raise DataError(f"{where}: {len(row)} values for {len(header)} columns")
                arch, *values = (row[place] for place in places)
                yield where, arch, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV table ({error})") from error


def _official_entries(path: Path) -> Iterator[_Entry]:
    try:
        package = importlib.import_module("nats_bench")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path} is not a .csv file, and reading a NATS-Bench archive takes its package: "
            f"pip install nats_bench ({error})"
        ) from None
    where = str(path)
    try:
        archive = package.create(where, "topology", fast_mode=path.is_dir(), verbose=False)
        for index, arch in enumerate(archive.meta_archs):
            where = f"{path}, architecture {index}"
            yield (
                where,
                arch,
                [
                    archive.get_more_info(index, name, hp="200", is_random=False)["test-accuracy"]
                    for name in DATASETS.values()
                ],
            )
    except (OSError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{where}: nats_bench cannot read it ({type(error).__name__}: {error}); give "
            "NATS-tss-v1_0-3ffb9.pickle.pbz2, or the folder NATS-tss-v1_0-3ffb9-simple"
        ) from error
