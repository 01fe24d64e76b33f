"""sdedge strategies"""

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json


@guarded
def strategies(json_output: options.Json = False) -> None:
    """List the search methods that --strategy takes."""
    from sdedge.nas.strategies import STRATEGIES, incompatible_with

    if json_output:
        print_json(
            {
                "strategies": [
                    {
                        "name": strategy.name,
                        "summary": strategy.summary,
                        "paper": strategy.paper,
                        "settings": dict(strategy.settings),
                        "excluded_spaces": dict(strategy.excluded_spaces),
                        "excludes": incompatible_with(strategy),
                    }
                    for strategy in STRATEGIES.values()
                ]
            }
        )
        return
    out = console()
    width = max(map(len, STRATEGIES))
    for strategy in STRATEGIES.values():
        out.print(f"[bold]{strategy.name:{width}}[/bold]  {strategy.summary}")
        out.print(f"[dim]{'':{width}}  {strategy.paper}[/dim]")
        if strategy.settings:
            own = ", ".join(f"{name} {value}" for name, value in strategy.settings.items())
            out.print(f"[dim]{'':{width}}  {own}[/dim]")
        for space in strategy.excluded_spaces:
            out.print(f"[dim]{'':{width}}  not in {space}[/dim]")
    out.print(
        "Several combine where each changes something else: --strategy pc-darts+beta. Settings\n"
        "that a paper changes come with it, its lengths and rates with --preset paper alone."
    )
