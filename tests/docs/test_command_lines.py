"""Every `sdedge ...` line of the documentation is one that the program takes."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import PAGES, blocks, name_of, spans

from sdedge.cli.main import app
from sdedge.comparison.method import Method
from sdedge.comparison.recipes import RECIPES
from sdedge.config import SearchConfig, TrainConfig
from sdedge.deploy.targets.target import load_target
from sdedge.genotype import published
from sdedge.nas.strategies import STRATEGIES, get_strategy
from sdedge.nas.tasks import TASKS, task_name

PROGRAM = typer.main.get_command(app)
# What changed is told in the changelog, old names included.
CHECKED = [page for page in PAGES if page.name != "CHANGELOG.md"]
_SHELLS = {"", "sh", "console"}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `sdedge` in a shell's text."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        lexer.commenters = "#"
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            tokens = list(lexer)
        except ValueError:  # prose with an apostrophe
            continue
        for token in [*tokens, ";"]:
            if set(token) <= set("|&;<>"):
                if words and words[0] == "sdedge":
                    yield words[1:]
                words = []
            else:
                words.append(token)


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command of a line, and its options as the program reads them."""
    command: Any = PROGRAM
    names = []
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"no command {arguments[0]}"
        names.append(arguments[0])
        command, arguments = command.commands[arguments[0]], arguments[1:]
    name = " ".join(names)
    if not arguments or arguments == ["--help"] or arguments == ["--version"]:
        return name, {}
    return name, command.make_context(name, arguments).params


def lines_of(page: Path) -> list[list[str]]:
    found = [
        arguments
        for block in blocks(page)
        if block.language in _SHELLS
        for arguments in command_lines(block.code)
    ]
    return found + [
        arguments
        for span in spans(page)
        if span.startswith("sdedge ") and "..." not in span and "COMMAND" not in span
        for arguments in command_lines(span)
    ]


LINES = [
    pytest.param(arguments, id=f"{name_of(page)}: {' '.join(arguments)}")
    for page in CHECKED
    for arguments in lines_of(page)
]


def test_the_lines_are_seen() -> None:
    assert len(LINES) > 50
    text = "sdedge search --set a=1 \\\n  --json | jq . && sdedge train # later\n$ sdedge doctor\n"
    assert list(command_lines(text)) == [
        ["search", "--set", "a=1", "--json"],
        ["train"],
        ["doctor"],
    ]


@pytest.mark.parametrize("arguments", LINES)
def test_the_program_takes_the_line(arguments: list[str]) -> None:
    name, options = parsed(arguments)
    if strategy := options.get("strategy"):
        get_strategy(strategy)
    for method in (options.get("strategies") or "random").split(","):
        Method.parse(method, STRATEGIES, TASKS)
    if task := options.get("task"):
        task_name(task)
    if recipe := options.get("recipe"):
        assert recipe in RECIPES
    if (target := options.get("target")) and not target.isupper():
        load_target(target)
    if name == "train" and (genotype := options.get("genotype")):
        assert genotype in published()
    for config, preset, settings in (
        (TrainConfig if name == "train" else SearchConfig, "preset", "settings"),
        (TrainConfig, "train", "train_settings"),
    ):
        assert options.get(preset) in {None, "auto", *config.presets()}
        known = {field.name for field in fields(config)}
        for setting in options.get(settings) or ():
            assert setting == "NAME=VALUE" or setting.partition("=")[0] in known


def options_of(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for child in getattr(command, "commands", {}).values():
        yield from options_of(child)


@pytest.mark.parametrize("page", [p for p in CHECKED if p.parent.name != "benchmarks"], ids=name_of)
def test_options_within_sentences_exist(page: Path) -> None:
    """Whichever command they are of."""
    known = {*options_of(PROGRAM), "--help"}
    named = {option for span in spans(page) for option in _OPTION.findall(span)}
    assert named <= known
