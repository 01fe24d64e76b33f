"""The genotype: its JSON form, what it refuses, and where one can be loaded from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdedge.errors import GenotypeError
from sdedge.genotype import Genotype, load_genotype, published

SEP, SKIP, POOL = "sep_conv_3x3", "skip_connect", "max_pool_3x3"


def cell(*operations: str) -> tuple[tuple[str, int], ...]:
    """A cell of these operations, each on one of the first two nodes."""
    return tuple((operation, position % 2) for position, operation in enumerate(operations))


def valid() -> dict[str, Any]:
    """A genotype in its JSON form; tests damage one thing in it."""
    return {
        "space": "darts",
        "normal": [[SEP, 1], [SKIP, 0], [SEP, 0], ["dil_conv_5x5", 2]],
        "normal_concat": [2, 3],
        "reduce": [[POOL, 0], [SEP, 1]],
        "reduce_concat": [2],
    }


def test_json_round_trip_gives_an_equal_genotype() -> None:
    genotype = Genotype.from_dict(valid())
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert genotype.to_dict() == valid()
    assert genotype.to_json().endswith("\n")


@pytest.mark.parametrize("name", published())
def test_published_genotypes_survive_the_round_trip(name: str) -> None:
    genotype = published()[name].genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


def test_space_and_concat_have_the_defaults_of_darts() -> None:
    edges = [[SEP, 0], [SEP, 1]] * 4
    genotype = Genotype.from_dict({"normal": edges, "reduce": edges})
    assert genotype.space == "darts"
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("space", "resnet", "'resnet'; a network can be built of: darts"),
        ("space", 7, "search space 7; a network"),
        ("normal", None, "normal is None; it must be a list"),
        ("normal", {"0": [SEP, 0]}, "normal is {'0': ['sep_conv_3x3', 0]}; it must be a list"),
        ("normal", [], "normal has 0 operations"),
        ("normal", [[SEP, 0], [SEP, 1], [SEP, 0]], "normal has 3 operations"),
        ("normal", [[SEP, 0], SEP], f"""normal[1] is '{SEP}'; it must be ["operation", source]"""),
        ("normal", [[SEP, 0], [SEP]], f"normal[1] is ['{SEP}']; it must be"),
        ("normal", [[SEP, 0], [SEP, "1"]], f"normal[1] is ['{SEP}', '1']; it must be"),
        ("normal", [[SEP, 0], [SEP, 1.0]], f"normal[1] is ['{SEP}', 1.0]; it must be"),
        ("normal", [[SEP, 0], [SEP, True]], f"normal[1] is ['{SEP}', True]; it must be"),
        ("normal", [[4, 0], [SEP, 1]], 'normal[0] is [4, 0]; it must be ["operation", source]'),
        ("normal", [["conv", 0], [SEP, 1]], "normal[0]: unknown operation 'conv'; choose from max"),
        ("normal", [["none", 0], [SEP, 1]], "normal[0]: unknown operation 'none'"),
        ("reduce", [[SEP, 0], [SEP, 2]], "reduce[1]: node 2 cannot read from node 2"),
        ("reduce", [[SEP, -1], [SEP, 1]], "reduce[0]: node 2 cannot read from node -1"),
        ("reduce_concat", [2, 3], "reduce_concat [2, 3] must be distinct inner nodes, 2 to 2"),
        ("normal_concat", [], "normal_concat [] must be"),
        ("normal_concat", [2, 2], "normal_concat [2, 2] must be"),
        ("normal_concat", [1, 2], "normal_concat [1, 2] must be"),
        ("normal_concat", "23", "normal_concat is '23'; it must be a list"),
        ("normal_concat", [2, 2.5], "normal_concat[1] is 2.5; it must be a whole number"),
    ],
)
def test_a_malformed_field_is_refused_by_name_and_value(
    key: str, value: object, named: str
) -> None:
    with pytest.raises(GenotypeError) as caught:
        Genotype.from_dict({**valid(), key: value}, source="my.json")
    assert str(caught.value).startswith("my.json: ")
    assert named in str(caught.value)


@pytest.mark.parametrize("key", ["normal", "reduce"])
def test_a_missing_cell_is_named(key: str) -> None:
    data = valid()
    del data[key]
    with pytest.raises(GenotypeError, match=f"my.json: {key} is missing"):
        Genotype.from_dict(data, source="my.json")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not valid JSON"),
        ("{'normal': []}", "not valid JSON"),
        (json.dumps(valid())[:-9], "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, "not valid JSON"),
        ('{"normal": NaN}', "not valid JSON"),
        ("[1, 2]", r"it is \[1, 2\]; it must be an object"),
        ("null", "it is None; it must be an object"),
        ("7.5", "it is 7.5; it must be an object"),
    ],
    ids=["empty", "quotes", "cut", "deep", "digits", "nan", "list", "null", "float"],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "g.json"
    file.write_text(text)
    with pytest.raises(GenotypeError, match=named) as caught:
        load_genotype(file)
    assert str(file) in str(caught.value)


def test_a_genotype_loads_from_name_file_and_run_directory(tmp_path: Path) -> None:
    genotype = published()["DARTS_V2"].genotype
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    assert load_genotype("DARTS_V2") == genotype
    assert load_genotype(tmp_path / "genotype.json") == genotype
    assert load_genotype(str(tmp_path)) == genotype


@pytest.mark.parametrize(
    "make",
    [lambda folder: "DARTS_V3", lambda folder: folder / "gone.json", lambda folder: folder],
    ids=["name", "file", "folder"],
)
def test_what_is_not_there_lists_the_published_names(
    tmp_path: Path, make: Callable[[Path], str | Path]
) -> None:
    with pytest.raises(GenotypeError) as caught:
        load_genotype(make(tmp_path))
    assert str(make(tmp_path)) in str(caught.value)
    assert all(name in str(caught.value) for name in published())


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x07\xff\xfe\x00")
    with pytest.raises(GenotypeError, match="cannot be read as a genotype") as caught:
        load_genotype(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("normal", "skips", "parameter_free", "collapsed"),
    [
        (cell(SEP, SEP, SEP, SEP), 0, 0, False),
        (cell(SKIP, SEP, POOL, SEP), 1, 2, False),
        (cell(SKIP, SKIP, POOL, SEP), 2, 3, True),
        (cell(SKIP, SKIP, SKIP, SKIP), 4, 4, True),
    ],
)
def test_a_cell_collapses_when_most_of_it_has_no_weights(
    normal: tuple[tuple[str, int], ...], skips: int, parameter_free: int, collapsed: bool
) -> None:
    genotype = Genotype(
        normal=normal, normal_concat=(2, 3), reduce=cell(SKIP, SKIP), reduce_concat=(2,)
    )
    assert genotype.skip_count == skips
    assert genotype.parameter_free_count == parameter_free
    assert genotype.collapsed is collapsed
