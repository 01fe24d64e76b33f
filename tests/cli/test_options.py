"""Options that the settings of a config make: which there are, and what they take."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sdedge.cli.main import app
from sdedge.config import PhaseConfig, SearchConfig, TrainConfig, options_of

# Scripts rely on these: what is taken away or renamed stands in the CHANGELOG.
SHARED = """
    --batch-size --cells --channels --cuda-graphs/--no-cuda-graphs --data-root --dataset --device
    --epoch-images --epochs --image-size --json --preset --resume --run --set
"""
FROZEN = {
    "search": f"""{SHARED}
        --benchmark-table --checkpoint-seconds --confidence --impl --int8/--fp32 --mask-fill
        --mask-ratio --max-flash-kb --max-latency-ms --max-params --max-ram-kb --patch-size --seed
        --space --strategy --target --task --valid-images""",
    "train": f"""{SHARED}
        --auxiliary/--no-auxiliary --checkpoint-seconds --cutout --drop-path --ema-decay --genotype
        --label-smoothing --lr --precision --seed --stem""",
    "compare": f"""{SHARED}
        --benchmark-table --latex/--no-latex --markdown/--no-markdown --patch-size
        --random/--no-random --recipe --seeds --space --strategies --train --train-set
        --valid-images""",
}


@pytest.mark.parametrize("command", FROZEN)
def test_the_options_of_a_command_stay(command: str) -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    options = {"/".join([*each.opts, *each.secondary_opts]) for each in commands[command].params}
    assert options == set(FROZEN[command].split())


@pytest.mark.parametrize("config", [SearchConfig, TrainConfig])
def test_another_default_keeps_the_option(config: type[PhaseConfig]) -> None:
    common = options_of(PhaseConfig)
    assert "epochs" in common
    assert common.items() <= options_of(config).items()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["search", "--epochs", "few"], "--epochs"),
        (["search", "--mask-ratio", "much"], "--mask-ratio"),
        (["train", "--cutout", "1.5"], "--cutout"),
        (["compare", "--space"], "--space"),
        (["train", "--mask-ratio", "0.5"], "--mask-ratio"),
        (["compare", "--seed", "1"], "--seed"),
    ],
)
def test_what_an_option_does_not_take_is_wrong_usage(arguments: list[str], option: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--impl", "cuda"], "impl is 'cuda'; it must be one of auto, triton"),
        (["train", "--stem", "vgg"], "stem is 'vgg'; it must be one of cifar, imagenet"),
        (["compare", "--epochs", "0"], "epochs is 0; it must be a whole number between 1"),
        (["search", "--int8"], "int8 is True; it must be left out without a target"),
        (["search", "--fp32"], "int8 is False; it must be left out without a target"),
    ],
)
def test_a_value_is_checked_by_the_config(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert message in result.stderr
