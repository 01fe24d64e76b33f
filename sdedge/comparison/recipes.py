"""The tables of Semantic-DARTS (IEEE IoT Journal, 2025) as comparisons. No torch.

Each recipe is the published protocol: scaled down, what was cut is told by comparing settings.
Published figures are those of the paper, mean and sample standard deviation over four seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdedge.names import choose
from sdedge.operations import NAS_BENCH_201

SEEDS = (2, 5555, 7777, 9999)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One table or figure of the paper."""

    name: str
    summary: str
    methods: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the searches
    train: str | None = None  # preset of the trainings
    train_settings: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left_out: str = ""  # what of the paper's table no setting here repeats


# UnNAS's settings of the proxies, by which the paper compares (its Table VII).
_PROXY = ":weight_lr_min=0:alpha_warmup=0.02"
_ROTATION = ":batch_size=32:weight_lr=0.0125"
_PROXIES = (
    "rotation" + _PROXY + _ROTATION,
    "joint-rotation" + _PROXY + _ROTATION,
    "colorization" + _PROXY,
    "joint-colorization" + _PROXY,
    "jigsaw" + _PROXY,
    "joint-jigsaw" + _PROXY,
)
_ACCURACIES = ("C10 %", "C100 %", "IN16 %")


def _nb201(*figures: str) -> dict[str, str]:
    return dict(zip(_ACCURACIES, figures, strict=True))


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="table-2",
            summary="CIFAR-10: cells of the DARTS space, trained for 600 epochs",
            methods=(
                "darts",
                "darts-2nd",
                "snas",
                "gdas",
                "p-darts",
                "pc-darts",
                "robust-l2",
                "sdarts-adv",
                "darts-pt",
                "darts-minus",
                "beta",
                "dots",
                "cdarts",
                "adarts",
                "semantic:mask_fill=1",
            ),
            train="paper",
            published={
                "darts": {"test %": "97.00 ± 0.14"},
                "darts-2nd": {"test %": "97.24 ± 0.09"},
                "snas": {"test %": "97.15 ± 0.02"},
                "gdas": {"test %": "97.07"},
                "p-darts": {"test %": "97.19 ± 0.14"},
                "pc-darts": {"test %": "97.43 ± 0.07"},
                "robust-l2": {"test %": "97.05 ± 0.21"},
                "sdarts-adv": {"test %": "97.39 ± 0.02"},
                "darts-pt": {"test %": "97.39 ± 0.08"},
                "darts-minus": {"test %": "97.41 ± 0.08"},
                "beta": {"test %": "97.47 ± 0.08"},
                "dots": {"test %": "97.51 ± 0.06"},
                "cdarts": {"test %": "97.52 ± 0.04"},
                "adarts": {"test %": "97.54"},
                "semantic:mask_fill=1": {"test %": "97.54 ± 0.15", "params k": "4,050 ± 230"},
            },
            left_out="the paper's best accuracy over the epochs; here it is that of the last",
        ),
        Recipe(
            name="table-3",
            summary="NAS-Bench-201: test accuracies of the cells found (Tables III and VI)",
            methods=(
                "darts",
                "darts-2nd",
                "gdas",
                "snas",
                "pc-darts",
                "darts-minus",
                "cdarts",
                "beta",
                "semantic:mask_fill=1",
            ),
            settings={"space": NAS_BENCH_201},
            published={
                "darts": _nb201("54.30 ± 0.00", "15.61 ± 0.00", "16.32 ± 0.00"),
                "darts-2nd": _nb201("54.30 ± 0.00", "15.61 ± 0.00", "16.32 ± 0.00"),
                "gdas": _nb201("93.61 ± 0.09", "70.70 ± 0.30", "41.71 ± 0.98"),
                "snas": _nb201("92.77 ± 0.83", "69.34 ± 1.98", "43.16 ± 2.64"),
                "pc-darts": _nb201("93.41 ± 0.30", "67.48 ± 0.89", "41.31 ± 0.22"),
                "darts-minus": _nb201("93.80 ± 0.40", "71.53 ± 1.51", "45.12 ± 0.82"),
                "cdarts": _nb201("94.02 ± 0.31", "71.92 ± 1.30", "45.51 ± 0.72"),
                "beta": _nb201("94.23 ± 0.27", "73.10 ± 0.82", "45.92 ± 0.85"),
                "semantic:mask_fill=1": _nb201("94.30 ± 0.13", "73.16 ± 0.70", "46.34 ± 0.00"),
            },
            left_out="validation accuracies, which the table of test accuracies does not have",
        ),
        Recipe(
            name="table-5",
            summary="transfer: cells found on CIFAR-10, trained on CIFAR-100",
            methods=("p-darts", "darts-plus", "beta", "semantic:mask_fill=1"),
            train="paper",
            train_settings={"dataset": "cifar100"},
            published={
                "p-darts": {"test %": "82.80"},
                "darts-plus": {"test %": "83.72"},
                "beta": {"test %": "83.76 ± 0.22"},
                "semantic:mask_fill=1": {"test %": "83.81 ± 0.44"},
            },
            left_out="the way back, from CIFAR-100 to CIFAR-10",
        ),
        Recipe(
            name="table-7",
            summary="self-supervised tasks next to masked image modelling, alone and jointly",
            methods=(*_PROXIES, "semantic:mask_fill=1"),
            train="paper",
            published={
                **dict(
                    zip(
                        _PROXIES,
                        (
                            {"test %": "97.39 ± 0.10", "params k": "3,350 ± 250"},
                            {"test %": "97.35 ± 0.12", "params k": "3,440 ± 540"},
                            {"test %": "97.04 ± 0.07", "params k": "3,650 ± 330"},
                            {"test %": "97.19 ± 0.25", "params k": "2,370 ± 330"},
                            {"test %": "96.93 ± 0.03", "params k": "4,570 ± 110"},
                            {"test %": "96.91 ± 0.43", "params k": "4,480 ± 250"},
                        ),
                        strict=True,
                    )
                ),
                "semantic:mask_fill=1": {"test %": "97.54 ± 0.15", "params k": "4,050 ± 230"},
            },
            left_out="searches on CIFAR-100 (--dataset cifar100)",
        ),
        Recipe(
            name="table-8",
            summary="what each part is worth: classification, hidden patches, reconstruction",
            methods=(
                "classification",
                "masked-classification:mask_fill=1",
                "reconstruction",
                "mim:mask_fill=1",
                "semantic:mask_fill=1",
            ),
            train="paper",
            published={
                "classification": {"test %": "97.00 ± 0.14", "params k": "3,400"},
                "masked-classification:mask_fill=1": {
                    "test %": "97.05 ± 0.26",
                    "params k": "4,240 ± 230",
                },
                "reconstruction": {"test %": "84.09 ± 0.00", "params k": "1,590"},
                "mim:mask_fill=1": {"test %": "97.18 ± 0.12", "params k": "2,460 ± 350"},
                "semantic:mask_fill=1": {"test %": "97.54 ± 0.15", "params k": "4,050 ± 230"},
            },
        ),
        Recipe(
            name="table-9",
            summary="what a search costs by the share of patches hidden",
            methods=(
                "darts",
                *(f"semantic:mask_fill=1:mask_ratio={n / 10}" for n in range(4, 10)),
            ),
            published={
                "darts": {"search s": "17,166"},
                **{
                    f"semantic:mask_fill=1:mask_ratio={ratio}": {"search s": seconds}
                    for ratio, seconds in (
                        (0.4, "17,842"),
                        (0.5, "18,861"),
                        (0.6, "17,944"),
                        (0.7, "17,794"),
                        (0.8, "18,668"),
                        (0.9, "17,421"),
                    )
                },
            },
            left_out="the paper's GPU, an RTX 3090",
        ),
        Recipe(
            name="figure-13",
            summary="side of a patch by share of patches hidden",
            methods=tuple(
                f"semantic:mask_fill=1:patch_size={size}:mask_ratio={n / 10}"
                for size in (2, 4, 8)
                for n in range(1, 10)
            ),
            train="paper",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`; ConfigError, with what there is, for another."""
    return RECIPES[choose(name, RECIPES, "recipe")]
