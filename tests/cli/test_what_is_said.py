"""What a figure on the screen might be taken for, and is not."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sdedge.cli.render.figures import accuracy_on, few_images
from sdedge.cli.render.search import ConsoleReporter
from sdedge.cli.render.train import show_training
from sdedge.comparison.summary import undecided_searches
from sdedge.config import SearchConfig, TrainConfig
from sdedge.genotype import published
from sdedge.nas.alphas import RELATIVE, relative_entropy
from sdedge.nas.runner import SearchOutcome
from sdedge.pipeline.search import CellFound
from sdedge.pipeline.train import Majority, TrainResult
from sdedge.proportion import interval
from sdedge.space.counting import Counts


def said(print_it: Any, *arguments: Any) -> str:
    out = Console(record=True, file=io.StringIO(), width=300)
    print_it(out, *arguments)
    return " ".join(out.export_text().split())


def found(normal: float, reduce: float) -> SearchOutcome:
    return searched({"epoch": 1, RELATIVE + "normal": normal, RELATIVE + "reduce": reduce})


def searched(record: dict[str, Any]) -> SearchOutcome:
    return SearchOutcome(published()["DARTS_V2"].genotype, 0, 1.0, [record])


def shown(outcome: SearchOutcome, **settings: Any) -> str:
    """What the end of a search with these settings prints."""
    event = CellFound(outcome, SearchConfig(**settings), Path("run"))
    return said(lambda out: ConsoleReporter(out)(event))


class TestUndecidedSearch:
    @pytest.mark.parametrize(
        ("normal", "reduce", "undecided"),
        [(0.9999, 0.9999, True), (0.991, 1.0, True), (0.98, 1.0, False), (1.0, 0.5, False)],
    )
    def test_entropies_within_a_hundredth_of_uniform(
        self, normal: float, reduce: float, undecided: bool
    ) -> None:
        assert found(normal, reduce).undecided is undecided

    def test_records_of_before_are_not_judged(self) -> None:
        result = searched({"epoch": 1})
        assert (result.undecided, result.relative_entropy) == (False, None)

    def test_it_is_said_with_what_to_do(self) -> None:
        slow = {"epochs": 10, "alpha_warmup": 0.3, "alpha_lr": 3e-4}
        text = shown(found(0.9998, 1.0), **slow)
        assert "has not decided anything" in text
        assert "99.98% of that of uniform ones" in text
        assert "Alpha moved in 7 of 10 epochs, at a rate of 0.0003" in text
        assert "--set alpha_lr=0.006" in text
        assert "an alpha_warmup below 0.3" in text
        fast = {"epochs": 10, "alpha_lr": 0.02}
        assert "higher rate" not in shown(found(0.9998, 1.0), **fast)
        assert "not decided" not in shown(found(0.7, 0.8), **slow)

    def test_entropy_of_any_relaxation_is_a_share_of_uniform(self) -> None:
        uniform, one_hot = torch.full((14, 8), 1 / 8), torch.eye(8)
        weights = {"softmax": uniform, "sigmoid": 4 * uniform, "one": one_hot}
        shares = relative_entropy({**weights, "none": torch.zeros(3, 8)})
        assert shares["softmax"] == pytest.approx(1)
        assert shares["sigmoid"] == pytest.approx(1)
        assert shares["one"] == pytest.approx(0)
        assert shares["none"] == 0
        half = torch.zeros(2, 8)
        half[:, :4] = 1 / 4  # others were ruled out
        assert relative_entropy({"half": half})["half"] == pytest.approx(2 / 3)

    def test_a_comparison_counts_them_by_method(self) -> None:
        rows = [
            {"method": "darts", "undecided": True},
            {"method": "darts", "undecided": False},
            {"method": "gdas", "undecided": False},
            {"method": "random"},
        ]
        assert undecided_searches(rows) == [("darts", 1, 2)]


class TestFewImages:
    def test_the_interval_is_wilsons(self) -> None:
        low, high = interval(2 / 3, 3)  # Wilson, 1927: (p + z^2 / 2n +- ...) / (1 + z^2 / n)
        assert (low, high) == (pytest.approx(0.2077, abs=1e-3), pytest.approx(0.9385, abs=1e-3))
        assert interval(1.0, 3)[1] == 1.0
        assert interval(0.0, 3)[0] == 0.0
        with pytest.raises(ValueError, match="0 images"):
            interval(0.5, 0)

    def test_an_accuracy_on_few_is_told_with_it(self) -> None:
        expected = "66.67% of 3 images (on so few, 21% to 94% with 95% confidence)"
        assert accuracy_on(2 / 3, 3) == expected
        assert accuracy_on(1.0, 1).startswith("100.00% of 1 image (on so few, 21% to 100%")
        assert accuracy_on(0.5, 10_000) == "50.00% of 10,000 images"
        assert few_images(0.5, 100) == ""

    @pytest.mark.parametrize(("accuracy", "warned"), [(0.6, True), (0.63, True), (0.8, False)])
    def test_a_network_no_better_than_one_answer_is_told_of(
        self, accuracy: float, warned: bool
    ) -> None:
        result = TrainResult(
            test_accuracy=accuracy,
            counts=Counts(10, 20),
            seconds=1.0,
            records=[{"epoch": 1}],
            run=Path("run"),
            weights=Path("run/weights.safetensors"),
            config=TrainConfig(),
            test_images=200,
            majority=Majority("cat", 0.6),
        )
        text = said(show_training, result)
        assert ("than always answering cat: 60.00%" in text) is warned
