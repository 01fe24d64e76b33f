"""Text that people write: printed cells and arch strings, and settings as NAME=VALUE."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fuzzing.harness import Target
from fuzzing.mutations import mutated
from fuzzing.structures import changed_json
from sdedge.comparison.method import Method
from sdedge.config import SearchConfig, TrainConfig, parse_settings
from sdedge.errors import SdedgeError
from sdedge.genotype import load_genotype, published
from sdedge.nas.strategies import STRATEGIES, get_strategy
from sdedge.nas.tasks import TASKS
from sdedge.pipeline.settings import with_absolute_paths
from sdedge.space.nasbench201.cell import Nb201Cell, read_cell

_CELL = published()["PDARTS"].genotype
_ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
_SETTINGS = (
    "epochs=3", "dataset=shapes", "data_root=data", "alpha_betas=[0.5, 0.9]", "cells=8",
    "strategy=pc-darts", "space=nas-bench-201", "image_size=32", "target=pi4", "max_ram_kb=64",
    "benchmark_table=table.csv", "seed=7", "weight_lr=0.025", "int8=true", "device=cpu",
)  # fmt: skip
_METHODS = ("pc-darts", "darts@semantic:epochs=3", "random", "semantic:mask_ratio=0.5:cells=4")


def target(folder: Path) -> Target:
    """Reading a cell from a file or as it is, or a setting of a search or a comparison."""
    file = folder / "cell.txt"

    def cell(data: bytes) -> None:
        file.write_bytes(data)
        text = data.decode(errors="surrogateescape")
        _all_refuse(
            lambda: load_genotype(file),
            lambda: load_genotype(text),
            lambda: read_cell(file),
            lambda: Nb201Cell.from_arch(text),
        )

    def setting(data: bytes) -> None:
        pair = data.decode(errors="surrogateescape")
        values = SearchConfig.check(parse_settings([pair], how="--set"))
        strategy = get_strategy(values.get("strategy", "darts"))
        SearchConfig.from_preset("quick", with_absolute_paths(values), strategy.settings)

    def training(data: bytes) -> None:
        pair = data.decode(errors="surrogateescape")
        TrainConfig.from_preset("quick", parse_settings([pair], how="--train-set"))

    def method(data: bytes) -> None:
        label = data.decode(errors="surrogateescape")
        Method.parse(label, tuple(STRATEGIES), tuple(TASKS))

    readers = {b"cell": cell, b"set": setting, b"train-set": training, b"method": method}

    def read(data: bytes) -> None:
        kind, _, text = data.partition(b"\n")
        readers[kind](text)

    range_ = "range(2, 6)"
    printed = (
        f"Genotype(normal={list(_CELL.normal)}, normal_concat={range_}, "
        f"reduce={list(_CELL.reduce)}, reduce_concat={range_})"
    )
    cells = (printed, f"2019-03-01 12:00 genotype = {printed}\n" * 3, repr(_CELL), _CELL.to_json(),
             _ARCH, f"best {_ARCH}\n")  # fmt: skip
    texts = {
        b"cell": cells,
        b"set": _SETTINGS,
        b"train-set": ("lr=0.1", "schedule=linear", "cutout=16", "auxiliary=false", "stem=cifar"),
        b"method": _METHODS,
    }
    originals = tuple(k + b"\n" + text.encode() for k, some in texts.items() for text in some)
    return Target(originals, read, (SdedgeError,), _change)


def _change(originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    kind, _, text = originals[rng.integers(len(originals))].partition(b"\n")
    if kind in (b"set", b"train-set") and rng.random() < 0.5:
        name = text.partition(b"=")[0]
        return kind + b"\n" + name + b"=" + changed_json(b'[{"a": [1, 2.5, "b"]}, 3]', rng)
    return kind + b"\n" + mutated([text], rng)


def _all_refuse(*reads: object) -> None:
    """Try each; a refusal by all of them is one."""
    refusal: SdedgeError | None = None
    sound = False
    for read in reads:
        try:
            read()  # type: ignore[operator]
            sound = True
        except SdedgeError as error:
            refusal = error
    if refusal and not sound:
        raise refusal
