"""The table of NAS-Bench-201: ranks and gaps, and what a broken file is told."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdedge.errors import DataError
from sdedge.space.nasbench201.benchmark_table import (
    CSV_COLUMNS,
    DATASETS,
    BenchmarkTable,
    Standing,
    read_benchmark_table,
)
from sdedge.space.nasbench201.cell import Nb201Cell

HEADER = ",".join(CSV_COLUMNS)


def arch(*operations: str) -> str:
    """A cell of these operations, and skips on the rest of its edges."""
    return Nb201Cell((*operations, *["skip_connect"] * (6 - len(operations)))).to_arch()


# The second and third compute the same: node 1 gets nothing, and what leaves it is nothing.
ARCHS = [
    arch(),
    arch("none", "nor_conv_1x1", "skip_connect"),
    arch("none", "nor_conv_1x1", "none"),
    arch("nor_conv_3x3"),
]
ROWS = [
    f"{ARCHS[0]},54.3,15.61,16.32",
    f"{ARCHS[1]},90.1,60.0,30.5",
    f"{ARCHS[2]},90.4,60.0,30.4",
    f"{ARCHS[3]},90.4,59.0,31",
]


def written(folder: Path, *lines: str) -> Path:
    file = folder / "table.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def table(tmp_path: Path) -> BenchmarkTable:
    return read_benchmark_table(written(tmp_path, HEADER, *ROWS))


def test_a_cell_is_told_its_accuracy_rank_and_distance_on_each_data_set(
    table: BenchmarkTable,
) -> None:
    assert len(table) == 4
    assert table.query(Nb201Cell.from_arch(ARCHS[1])) == {
        "cifar10": Standing(90.1, 3, 0.3),
        "cifar100": Standing(60.0, 1, 0.0),
        "imagenet16-120": Standing(30.5, 2, 0.5),
    }


def test_a_byte_order_mark_and_blank_lines_are_no_part_of_a_table(
    tmp_path: Path, table: BenchmarkTable
) -> None:
    file = tmp_path / "windows.csv"
    lines = (HEADER, "", *ROWS, ",,,", "  ", "")
    file.write_text("\r\n".join(lines), encoding="utf-8-sig")
    read = read_benchmark_table(file)
    assert len(read) == len(table)
    assert all(read.query(cell) == table.query(cell) for cell in table.best("cifar10"))


def test_a_file_of_gigabytes_is_no_table(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**32)
    with pytest.raises(DataError, match="over 64 MiB"):
        read_benchmark_table(tmp_path / "huge.csv")


def test_equals_share_a_rank_and_push_the_next_down(table: BenchmarkTable) -> None:
    ranks = [
        [standing.rank for standing in table.query(Nb201Cell.from_arch(name)).values()]
        for name in ARCHS
    ]
    assert ranks == [[4, 4, 4], [3, 1, 2], [1, 1, 3], [1, 3, 1]]


def test_the_best_are_all_cells_of_rank_one(table: BenchmarkTable) -> None:
    best = {name: [cell.to_arch() for cell in table.best(name)] for name in DATASETS}
    assert best == {
        "cifar10": [ARCHS[2], ARCHS[3]],
        "cifar100": [ARCHS[1], ARCHS[2]],
        "imagenet16-120": [ARCHS[3]],
    }
    with pytest.raises(DataError, match=r"unknown data set 'svhn'; choose from cifar10, cifar100"):
        table.best("svhn")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    lines = ["cifar100_test,seeds,imagenet16_120_test,cifar10_test,arch", f"3,777,4,2,{ARCHS[0]}"]
    standings = read_benchmark_table(written(tmp_path, *lines)).query(Nb201Cell.from_arch(ARCHS[0]))
    assert [standing.accuracy for standing in standings.values()] == [2, 3, 4]


def test_a_cell_that_is_not_there_is_named(table: BenchmarkTable) -> None:
    cell = Nb201Cell(("none",) * 6)
    with pytest.raises(DataError) as caught:
        table.query(cell)
    message = str(caught.value)
    assert cell.to_arch() in message
    assert "table.csv" in message
    assert "4 of 15,625" in message


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], "line 1: no column arch, cifar10_test, cifar100_test, imagenet16_120_test"),
        ([HEADER], "table.csv holds no cell"),
        (["arch,cifar10_test,imagenet16_120_test", "x,1,2"], "line 1: no column cifar100_test; a"),
        ([HEADER, ROWS[0], f"{ARCHS[1]},1,2"], "line 3: 3 values for 4 columns"),
        ([HEADER, ROWS[0], f"{ARCHS[1]},1,2,3,4"], "line 3: 5 values for 4 columns"),
        ([HEADER, f"{ARCHS[0]},1,,3"], "line 2: could not convert string to float: ''"),
        ([HEADER, f"{ARCHS[0]},1,nan,3"], "line 2: cifar100 is nan; it must be a percentage"),
        ([HEADER, f"{ARCHS[0]},1,2,100.1"], "line 2: imagenet16-120 is 100.1"),
        ([HEADER, ROWS[0], "|conv~0|,1,2,3"], "line 3: arch '|conv~0|': 1 nodes"),
        ([HEADER, ROWS[0].replace("skip_", "hop_")], "edge 1<-0: unknown operation 'hop_connect'"),
        ([HEADER, *ROWS, ROWS[1]], f"line 6: {ARCHS[1]} is there twice"),
        ([HEADER, '"' + ROWS[0]], "cannot be read as a CSV table (unexpected end of data)"),
    ],
)
def test_a_broken_file_is_named_with_the_line(lines: list[str], named: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_benchmark_table(written(tmp_path, *lines))
    assert named in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_a_missing_file_and_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no benchmark table .*gone\.csv"):
        read_benchmark_table(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"bytes\.csv cannot be read as a CSV table"):
        read_benchmark_table(tmp_path / "bytes.csv")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        (tmp_path / "folder.csv").mkdir()
        read_benchmark_table(tmp_path / "folder.csv")


class Archive:
    """Stands for the package that reads official archives."""

    meta_archs = ARCHS

    def get_more_info(
        self, index: int, dataset: str, *, hp: str, is_random: bool
    ) -> dict[str, float]:
        assert hp == "200"
        assert not is_random, "the mean over the trainings is wanted"
        place = list(DATASETS.values()).index(dataset)
        return {"test-accuracy": float(ROWS[index].split(",")[1 + place]), "valid-accuracy": 0.0}


@pytest.mark.parametrize("folder", [False, True])
def test_an_official_archive_is_read_by_its_package(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "NATS-tss-v1_0-3ffb9"
    if folder:
        file.mkdir()
    else:
        file.touch()
    asked: list[Any] = []

    def create(path: str, space: str, *, fast_mode: bool, verbose: bool) -> Archive:
        asked.append((path, space, fast_mode, verbose))
        return Archive()

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))
    official = read_benchmark_table(file)
    assert asked == [(str(file), "topology", folder, False)]
    same = read_benchmark_table(written(tmp_path, HEADER, *ROWS))
    for name in ARCHS:
        cell = Nb201Cell.from_arch(name)
        assert official.query(cell) == same.query(cell)


def test_an_archive_without_its_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    file = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    file.touch()
    with pytest.raises(DataError, match=r"pbz2 is not a \.csv file, .*pip install nats_bench"):
        read_benchmark_table(file)


@pytest.mark.parametrize("error", [OSError("Invalid data stream"), EOFError(), KeyError("200")])
def test_an_archive_that_its_package_refuses_is_named(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: Any, **__: Any) -> Archive:
        raise error

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))
    file = tmp_path / "nas-bench-201.pth"
    file.touch()
    with pytest.raises(DataError, match=r"201\.pth: nats_bench cannot read it .*NATS-tss-v1_0"):
        read_benchmark_table(file)


@pytest.mark.skipif(
    not Path(os.environ.get("SDEDGE_BENCHMARK_TABLE", "")).is_file(),
    reason="SDEDGE_BENCHMARK_TABLE names no table",
)
def test_the_optimum_of_the_whole_benchmark_is_the_published_one() -> None:
    """The row `optimal` of the papers' tables; all skips, what DARTS finds there, has 54.30%."""
    table = read_benchmark_table(os.environ["SDEDGE_BENCHMARK_TABLE"])
    assert len(table) == 15_625
    highest = {name: table.query(table.best(name)[0])[name] for name in DATASETS}
    assert [round(standing.accuracy, 2) for standing in highest.values()] == [94.37, 73.51, 47.31]
    assert all(standing.rank == 1 and standing.gap == 0 for standing in highest.values())
    all_skip = table.query(Nb201Cell(("skip_connect",) * 6))
    assert round(all_skip["cifar10"].accuracy, 2) == 54.30
