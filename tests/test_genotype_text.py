"""Cells as papers and logs print them."""

from pathlib import Path

import pytest

from sdedge.errors import GenotypeError
from sdedge.genotype import Genotype, load_genotype, published
from sdedge.genotype_text import read_printed
from sdedge.space.nasbench201.cell import read_cell

DARTS = published()["DARTS_V2"].genotype
EDGES = "('sep_conv_3x3', 0), ('skip_connect', 1)"
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"


def printed(concat: str = "range(2, 6)") -> str:
    """DARTS_V2 as the namedtuple of the authors' code prints it."""
    return (
        f"Genotype(normal={list(DARTS.normal)!r}, normal_concat={concat}, "
        f"reduce={list(DARTS.reduce)!r}, reduce_concat={concat})"
    )


def by_position() -> str:
    return f"Genotype({list(DARTS.normal)}, [2, 3, 4, 5], {list(DARTS.reduce)}, range(2, 6))"


@pytest.mark.parametrize(
    "text",
    [
        printed(),
        printed("[2, 3, 4, 5]"),
        printed("(2, 3, 4, 5)"),
        f"DARTS_V2 = {printed()}\n",
        f"2019-03-01 12:00:00,123 epoch 49 lr 1e-3\n2019-03-01 12:00:01,001 genotype = {printed()}",
        printed().replace(", ", ",\n    ").replace("Genotype(", "genotype =\nGenotype(\n"),
        f"epoch 1: {printed()}\nepoch 2: {printed('[2, 3, 4, 5]')}\n(the end)",
        by_position(),
        repr(DARTS),
        DARTS.to_json(),
        "\ufeff" + DARTS.to_json(),
        "\ufeff" + printed(),
    ],
    ids=[
        *("range", "list", "tuple", "assigned", "log", "lines", "twice", "positions", "repr"),
        *("json", "json with BOM", "printed with BOM"),
    ],
)
def test_a_file_holds_a_cell_in_any_of_its_forms(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cell.txt"
    file.write_text(text, encoding="utf-8")
    assert load_genotype(file) == DARTS


def test_a_printed_cell_may_be_given_in_place_of_a_name() -> None:
    assert load_genotype(printed()) == DARTS
    assert load_genotype(f"genotype = {printed()}") == DARTS


def test_nothing_in_the_text_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    call = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    for text in (f"Genotype(normal={call})", f"Genotype(normal=[({call}, 0)])"):
        with pytest.raises(GenotypeError, match=r"normal: .* is neither a list, a name in quotes"):
            load_genotype(text)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (printed()[:-1], r"f\.log, line 1: Genotype\( is not closed; the cell was cut short"),
        ("\n\nGenotype(normal=[('a' 'b', 1)]]", "line 3: Genotype\\( is not closed"),
        ("Genotype(normal=[)", "line 1: the cell cannot be read: "),
        ("Genotype(normal=[('sep', 1)] normal)", "the cell cannot be read: invalid syntax"),
        ("Genotype()", "normal is missing"),
        ("Genotype(normal=[], normal=[])", "a cell has each of normal"),
        ("Genotype([], normal=[])", "a cell has each of normal, normal_concat, reduce"),
        ("Genotype([], [], [], [], [])", "a cell has each of normal"),
        ("Genotype(**x)", r"'\*\*' is no part of a cell; choose from normal"),
        ("Genotype(cells=5)", "'cells' is no part of a cell"),
        ("Genotype(normal=1.5)", "normal: '1.5' is neither a list"),
        (f"Genotype(normal=[{EDGES}], reduce=[{EDGES}], normal_concat=range(10**9))", "10\\*\\*9"),
        ("Genotype(normal_concat=range(0, 1000000000000))", "range.0, 1000000000000.* is neither"),
        ("Genotype(normal_concat=range(2, 6, 0))", "is neither a list"),
        ("Genotype(normal=" + "[" * 150 + "]" * 150 + ", reduce=[])", "normal.0. is "),
        ("Genotype(normal=" + "-" * 9000 + "1)", "cannot be read|is neither a list"),
        ("Genotype(" + "9" * 5000 + ")", "the cell cannot be read"),
        ("Genotype(normal=['" + "x" * 50_000 + "'])", "not closed"),
        (f"{printed()}\n{printed('[2, 3]')}", "holds different cells, in line 1 and in line 2"),
        (
            f"Genotype(normal=[{EDGES}], reduce=[('a', 0), ('a', 1)], normal_concat=[2])",
            "operation 'a'",
        ),
        ("Genotype(normal=[\x00])", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_printed_cell_is_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "f.log"
    file.write_text(text)
    with pytest.raises(GenotypeError, match=message) as caught:
        load_genotype(file)
    assert len(str(caught.value)) < 500 + len(str(file))


def test_a_long_log_of_one_cell_is_read_at_once() -> None:
    log = f"{printed()}\n" * 5000
    assert Genotype.from_dict(read_printed(log, source="log")) == DARTS


def test_a_cell_of_nas_bench_201_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "arch.txt"
    for text in (ARCH, f"\ufeff{ARCH}\r\n", f"epoch 9: best '{ARCH}', again {ARCH}\n"):
        file.write_text(text, encoding="utf-8")
        assert read_cell(file).to_arch() == ARCH
    with pytest.raises(GenotypeError, match=r"arch\.txt: .* is a cell of nas-bench-201"):
        load_genotype(file)
    with pytest.raises(GenotypeError, match="is a cell of nas-bench-201"):
        load_genotype(ARCH)
    file.write_text(f"{ARCH}\n{ARCH.replace('none', 'skip_connect')}")
    with pytest.raises(GenotypeError, match=r"arch\.txt: 2 different arch strings"):
        read_cell(file)
    file.write_text(ARCH.replace("none", "conv"))
    with pytest.raises(GenotypeError, match=r"arch\.txt: arch .*unknown operation 'conv'"):
        read_cell(file)
