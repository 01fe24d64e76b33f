"""The cell of NAS-Bench-201: its arch string, its JSON form, and what both refuse."""

import random

import pytest

from sdedge.errors import GenotypeError
from sdedge.operations import NAS_BENCH_201_OPERATIONS
from sdedge.space.nasbench201.cell import EDGES, Nb201Cell, all_cells, random_cell

ARCH = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def test_an_arch_string_names_the_operation_of_each_edge() -> None:
    cell = Nb201Cell.from_arch(ARCH)
    assert dict(zip(EDGES, cell.operations, strict=True)) == {
        (1, 0): "nor_conv_3x3",
        (2, 0): "nor_conv_1x1",
        (2, 1): "none",
        (3, 0): "skip_connect",
        (3, 1): "avg_pool_3x3",
        (3, 2): "nor_conv_3x3",
    }
    assert cell.to_arch() == ARCH


def test_all_cells_of_the_space_survive_the_round_trip() -> None:
    cells = list(all_cells())
    archs = {cell.to_arch() for cell in cells}
    assert len(cells) == len(archs) == 15_625
    assert all(Nb201Cell.from_arch(cell.to_arch()) == cell for cell in cells)


def test_json_round_trip_gives_an_equal_cell() -> None:
    cell = Nb201Cell.from_arch(ARCH)
    assert cell.to_dict() == {"space": "nas-bench-201", "arch": ARCH}
    assert Nb201Cell.from_json(cell.to_json()) == cell
    assert cell.to_json().endswith("\n")
    assert Nb201Cell.from_dict({"arch": ARCH}) == cell


@pytest.mark.parametrize(
    ("operations", "skips", "free", "collapsed"),
    [
        (("skip_connect",) * 6, 6, 6, True),
        (("nor_conv_3x3",) * 6, 0, 0, False),
        (("none", "skip_connect", "avg_pool_3x3", *["nor_conv_1x1"] * 3), 1, 3, False),
        (("none", "none", "avg_pool_3x3", "avg_pool_3x3", *["nor_conv_3x3"] * 2), 0, 4, True),
    ],
)
def test_collapse_is_more_than_half_of_the_edges_without_weights(
    operations: tuple[str, ...], skips: int, free: int, collapsed: bool
) -> None:
    cell = Nb201Cell(operations)
    assert (cell.skip_count, cell.parameter_free_count, cell.collapsed) == (skips, free, collapsed)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (
            "none~1",
            "noise~1",
            "edge 2<-1: unknown operation 'noise'; choose from none, skip_connect",
        ),
        ("none~1", "none~0", "node 2: 'none~0' must be OPERATION~1"),
        ("none~1", "none", "node 2: 'none' must be OPERATION~1"),
        ("none~1|", "", "node 2 is '|nor_conv_1x1~0|'; it must be |OPERATION~SOURCE|, 2 of them"),
        ("|nor_conv_3x3~0|+", "", "2 nodes joined by '+'; there must be 3"),
        ("|nor_conv_3x3~0|+", "nor_conv_3x3~0|+", "node 1 is 'nor_conv_3x3~0|'"),
        ("nor_conv_3x3~2|", "nor_conv_3x3~2", "node 3 is"),
        (ARCH, "", "arch '': 1 nodes"),
        (ARCH, "++", "node 1 is ''"),
    ],
)
def test_a_malformed_arch_is_refused_by_its_bad_part(old: str, new: str, named: str) -> None:
    with pytest.raises(GenotypeError) as caught:
        Nb201Cell.from_arch(ARCH.replace(old, new))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[]", "cell.json: it is []; it must be an object"),
        ("{", "cell.json is not valid JSON"),
        ("{}", "cell.json: arch is missing"),
        ('{"arch": 3}', "cell.json: arch is 3"),
        ('{"arch": "x"}', "cell.json: arch 'x': 1 nodes"),
        ('{"space": "darts", "arch": ""}', "cell.json: the space is 'darts', not nas-bench-201"),
    ],
)
def test_a_malformed_file_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(GenotypeError) as caught:
        Nb201Cell.from_json(text, source="cell.json")
    assert named in str(caught.value)


def test_a_cell_has_six_operations() -> None:
    with pytest.raises(GenotypeError, match="has 6 operations, got 5"):
        Nb201Cell(("none",) * 5)


def test_a_random_cell_is_any_of_the_space_and_repeats_with_its_seed() -> None:
    rng = random.Random(0)
    drawn = [random_cell(rng) for _ in range(300)]
    assert len(set(drawn)) > 290
    for edge in range(len(EDGES)):
        assert {cell.operations[edge] for cell in drawn} == set(NAS_BENCH_201_OPERATIONS)
    assert random_cell(random.Random(0)) == drawn[0]
