"""What a table of NAS-Bench-201 says of cells, of one or of every epoch of a search."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sdedge.analysis.standings import draw_standings
from sdedge.errors import ConfigError
from sdedge.files import write_json
from sdedge.nas.lookup import look_up, look_up_epochs
from sdedge.nas.runner import SearchOutcome
from sdedge.paths import checked_path
from sdedge.run import RunDir
from sdedge.space.nasbench201.benchmark_table import DATASETS, BenchmarkTable, read_benchmark_table
from sdedge.space.nasbench201.cell import Nb201Cell, read_cell
from sdedge.space.nasbench201.counting import count_cell


@dataclass(frozen=True)
class Benchmark:
    """What a table says of the cell that a search ends with."""

    cell: Mapping[str, Any]  # its arch string, and where it stands if the table holds it
    table: BenchmarkTable
    drawn: bool  # whether the cells of any epoch were looked up and drawn


def read_table(path: str | None) -> BenchmarkTable | None:
    """The table that settings name, if any; DataError when it cannot be read."""
    return read_benchmark_table(path) if path else None


def query_cells(table: BenchmarkTable, what: str | None, *, best: bool) -> list[dict[str, Any]]:
    """What a table knows of a cell, or of the best cells of a data set, or of every one.

    `what` is an arch string, a file with one, or the run directory of a search; with `best`, a data
    set. Raises ConfigError for nothing to look up, and GenotypeError, DataError or RunError for
    what is no cell, or none of the table's.
    """
    if best:
        names: Iterable[str] = [what] if what else DATASETS
        cells = list(dict.fromkeys(cell for name in names for cell in table.best(name)))
    elif what is None:
        raise ConfigError("nothing to look up; give an arch string, or --best")
    else:
        cells = [_cell(what)]
    return [_summary(cell, table) for cell in cells]


def look_up_search(run: RunDir, outcome: SearchOutcome, table: BenchmarkTable) -> Benchmark:
    """Look the cells of a search up; write and draw those of all epochs that the table holds."""
    epochs = look_up_epochs(outcome.records, table)
    cell = Nb201Cell.from_dict(outcome.genotype.to_dict())
    known = _summary(cell, table) if cell in table else {"arch": cell.to_arch()}
    best = {name: table.highest(name) for name in DATASETS}
    write_json(run.benchmark, {**known, "best": best, "epochs": epochs})
    if epochs:
        for suffix in ("svg", "png"):
            file = run.benchmark_drawing(suffix)
            draw_standings(epochs, best, file, found=outcome.epoch + 1)
    return Benchmark(known, table, drawn=bool(epochs))


def _cell(text: str) -> Nb201Cell:
    """An arch string, or the one in that file, or the cell of a search in that folder."""
    if text.startswith("|") or not (path := checked_path(text)).exists():
        return Nb201Cell.from_arch(text)
    if path.is_file():
        return read_cell(path)
    run = RunDir.open(path)
    return read_cell(run.require(run.genotype, "search"))


def _summary(cell: Nb201Cell, table: BenchmarkTable) -> dict[str, Any]:
    return {**look_up(cell, table), **asdict(count_cell(cell))}
