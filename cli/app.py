"""Commands as sdedge has them: an option given twice is refused, where the last one would win."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeats(self, ctx, args)
        return super().parse_args(ctx, args)


class _Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeats(self, ctx, args)
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """A group of commands, whose options may each be given once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=_Group,
            context_settings={"help_option_names": ["--help", "-h"]},
            pretty_exceptions_enable=False,
            add_completion=False,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As in typer."""
        return super().command(name, cls=_Command, **settings)


def _refuse_repeats(command: TyperCommand | TyperGroup, ctx: Any, args: list[str]) -> None:
    order: list[Any] = command.make_parser(ctx).parse_args(args=list(args))[2]
    for option, count in Counter(order).items():
        single = option.param_type_name == "option" and not (option.multiple or option.is_eager)
        if count > 1 and single:
            raise typer.BadParameter(f"given {count} times; give it once", ctx=ctx, param=option)
